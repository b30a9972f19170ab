package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

// Every shell command that the pages show is run here, in the order of its page, on a
// node with stores of its own: a reader who pastes them gets no error. What stands for
// the reader's own is filled in: run_... is the run that a command has shown last, and
// so on. A command of make or go test is not run, but what it names has to be there.
func TestCommandsInTheDocs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a private Postgres")
	}
	for _, program := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append([]string{"../../README.md"}, pages...)
	r := newReader(t)
	ran := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		r.page = filepath.Base(page)
		for _, command := range shellCommands(string(text)) {
			r.follow(command)
			ran++
		}
	}
	if ran < 40 {
		t.Errorf("only %d commands were found", ran)
	}
}

// reader is somebody who follows the pages, in a folder with bin/node and data.
type reader struct {
	*testing.T
	dir, page string
	info      devstack.Info
	variables []string          // that commands have set
	seen      map[string]string // the last id of each kind
}

func newReader(t *testing.T) *reader {
	t.Helper()
	data := folder(t)
	startNode(t, data)
	r := &reader{T: t, dir: t.TempDir(), info: info(t, data), seen: map[string]string{}}
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", asNode, quoteShell(program))
	for _, err := range []error{
		os.Mkdir(filepath.Join(r.dir, "bin"), 0o755),
		os.WriteFile(filepath.Join(r.dir, "bin/node"), []byte(script), 0o755),
		os.WriteFile(filepath.Join(r.dir, "node.conf"), []byte("claim-ttl 10s\n"), 0o600),
		os.Symlink(data, filepath.Join(r.dir, "data")),
		os.Symlink(filepath.Join(data, "secret.key"), filepath.Join(r.dir, "shared.key")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.seen["env"] = r.info.Environments[0].ID
	return r
}

// shellCommands are the commands of a page's sh blocks: a line, with those that it
// goes on in.
func shellCommands(page string) (commands []string) {
	for i, part := range strings.Split(page, "```sh\n") {
		block, _, _ := strings.Cut(part, "```")
		command := ""
		for line := range strings.Lines(block) {
			if i == 0 {
				break
			}
			command += line
			if end := strings.TrimRight(line, " \n"); strings.HasSuffix(end, `\`) || strings.HasSuffix(end, "|") {
				continue
			}
			if command = strings.TrimSpace(command); command != "" && !strings.HasPrefix(command, "#") {
				commands = append(commands, command)
			}
			command = ""
		}
	}
	return commands
}

// follow does what a command asks for.
func (r *reader) follow(command string) {
	r.Helper()
	words := strings.Fields(command)
	switch {
	case words[0] == "make":
		r.made(words[1])
	case words[0] == "go" && words[1] == "test":
		r.tested(command)
	case regexp.MustCompile(`^[A-Z_]+=(\S*|\$\(.*\))$`).MatchString(command):
		r.variables = append(r.variables, r.fill(command))
	case strings.HasPrefix(command, "bin/node -data "):
		r.serves(command)
	default:
		r.run(command)
	}
}

func (r *reader) made(target string) {
	r.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		r.Fatal(err)
	}
	if !strings.Contains(string(text), "\n"+target+":") {
		r.Errorf("%s: there is no make %s", r.page, target)
	}
}

// tested looks whether each part of a pattern names a test or a benchmark of its package.
func (r *reader) tested(command string) {
	r.Helper()
	m := regexp.MustCompile(`go test (\S+)\s+-(?:run|bench) '([^']+)'`).FindStringSubmatch(command)
	if m == nil {
		r.Errorf("%s: this can not be checked: %s", r.page, command)
		return
	}
	files, err := filepath.Glob(filepath.Join("../..", m[1], "*_test.go"))
	if err != nil {
		r.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			r.Fatal(err)
		}
		source.Write(text)
	}
	for part := range strings.SplitSeq(m[2], "|") {
		if !regexp.MustCompile(`(?m)^func (Test|Fuzz|Example|Benchmark)\w*` + part).MatchString(source.String()) {
			r.Errorf("%s: %s has no test %s", r.page, m[1], part)
		}
	}
}

// fill puts the reader's own in.
func (r *reader) fill(command string) string {
	pairs := []string{
		"http://127.0.0.1:8030", r.info.HTTP, "tr_dev_...", r.info.Environments[0].Key,
	}
	for kind, id := range r.seen {
		pairs = append(pairs, kind+"_...", id)
	}
	return strings.NewReplacer(pairs...).Replace(command)
}

func (r *reader) shell(ctx context.Context, command string) *exec.Cmd {
	script := fmt.Sprintf("set -e\ncurl() { command curl --fail-with-body \"$@\"; }\nU=%s KEY=%s ADMIN=%s REDIS=%s POSTGRES=%s ADMIN_TOKEN=%s\n%s\n%s",
		quoteShell(r.info.HTTP), quoteShell(r.info.Environments[0].Key), quoteShell(r.info.Admin), quoteShell(r.info.Redis.URL),
		quoteShell(r.info.Postgres.URL), quoteShell(r.info.AdminToken), strings.Join(r.variables, "\n"), command)
	c := exec.CommandContext(ctx, "sh", "-c", script)
	c.Dir = r.dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, envPrefix+"_") {
			c.Env = append(c.Env, v)
		}
	}
	return c
}

func (r *reader) run(command string) {
	r.Helper()
	for _, program := range regexp.MustCompile(`\b(psql|redis-cli|jq)\b`).FindAllString(command, -1) {
		if _, err := exec.LookPath(program); err != nil {
			r.Logf("%s: not run: %v", r.page, err)
			return
		}
	}
	command = r.fill(command)
	if left := regexp.MustCompile(`\b[a-z]+_\.\.\.`).FindString(command); left != "" {
		r.Errorf("%s: nothing has shown what %s stands for in: %s", r.page, left, command)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	out, err := r.shell(ctx, command).CombinedOutput()
	if err != nil {
		r.Errorf("%s: %v\n%s\n%s", r.page, err, command, out)
	}
	for _, id := range regexp.MustCompile(`\b(run|batch)_[0-9a-z]{8,}`).FindAllStringSubmatch(string(out), -1) {
		r.seen[id[1]] = id[0]
	}
}

// serves starts a node as the page says, on a free port, until it is ready.
func (r *reader) serves(command string) {
	r.Helper()
	command = regexp.MustCompile(`\S*:80\d\d\b`).ReplaceAllString(command, "127.0.0.1:0")
	p := launch(r.T, r.shell(context.Background(), "exec "+command))
	p.waitOut(r.T, p.stdout, "mollifier is ready at")
	p.stop(r.T)
}
