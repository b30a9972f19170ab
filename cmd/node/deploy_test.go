package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func deployFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The files that deploy a node name settings: a flag that is renamed must not leave a
// container that refuses to start.
func TestDeployedSettingsExist(t *testing.T) {
	_, help, _ := runHere(t, "-h")
	known := map[string]bool{}
	for _, flag := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(help, -1) {
		known["MOLLIFIER_"+strings.ToUpper(strings.ReplaceAll(flag[1], "-", "_"))] = true
	}
	for _, name := range []string{"Dockerfile", "compose.yaml", "mollifier.service", "mollifier.env"} {
		named := regexp.MustCompile(`MOLLIFIER_[A-Z_]*[A-Z]`).FindAllString(deployFile(t, name), -1)
		if len(named) == 0 {
			t.Errorf("%s names no setting", name)
		}
		for _, variable := range named {
			if !known[variable] {
				t.Errorf("%s names %s, of which the program has no flag", name, variable)
			}
		}
	}
}

func TestUnitIsUnderstood(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip(err)
	}
	unit := filepath.Join(t.TempDir(), "mollifier.service")
	text := strings.ReplaceAll(deployFile(t, "mollifier.service"), "/usr/local/bin/mollifier-node", os.Args[0])
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(verify, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// What a stop may take is granted, in each of the files.
func TestStopsAreGranted(t *testing.T) {
	const stop = 30 * time.Second // the default of -stop-timeout
	found := regexp.MustCompile(`TimeoutStopSec=(\S+)`).FindStringSubmatch(deployFile(t, "mollifier.service"))
	if found == nil {
		t.Fatal("the unit grants no time")
	}
	if granted, err := time.ParseDuration(found[1]); err != nil || granted <= stop {
		t.Errorf("the unit grants %s (%v), a stop may take %v", found[1], err, stop)
	}
	for name, s := range composeServices(t) {
		if !strings.HasPrefix(name, "node") {
			continue
		}
		asked, err := time.ParseDuration(s.Environment["MOLLIFIER_STOP_TIMEOUT"])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if granted, err := time.ParseDuration(s.Grace); err != nil || granted <= asked {
			t.Errorf("%s grants %s (%v), a stop may take %v", name, s.Grace, err, asked)
		}
	}
}

type composeService struct {
	Image       string
	ReadOnly    bool              `yaml:"read_only"`
	Grace       string            `yaml:"stop_grace_period"`
	Environment map[string]string `yaml:"environment"`
	Command     []string          `yaml:"command"`
	Ports       []string          `yaml:"ports"`
	DependsOn   map[string]any    `yaml:"depends_on"`
}

func composeServices(t *testing.T) map[string]composeService {
	t.Helper()
	var file struct{ Services map[string]composeService }
	if err := yaml.Unmarshal([]byte(deployFile(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

func TestComposeIsTwoNodesOnTheSameStores(t *testing.T) {
	all := composeServices(t)
	first, second := all["node-1"], all["node-2"]
	for name, node := range map[string]composeService{"node-1": first, "node-2": second} {
		if !node.ReadOnly {
			t.Errorf("%s may write to its root", name)
		}
		for need := range maps.Keys(node.DependsOn) {
			if all[need].Image == "" {
				t.Errorf("%s waits for %s, which is none", name, need)
			}
		}
		for _, port := range node.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s to everybody", name, port)
			}
		}
	}
	for variable, value := range first.Environment {
		if variable != "MOLLIFIER_NAME" && second.Environment[variable] != value {
			t.Errorf("%s differs between the nodes", variable)
		}
	}
	// What a node refuses to start without, and what its promise rests on.
	for _, want := range [][]string{{"--maxmemory-policy", "noeviction"}, {"--appendonly", "yes"}, {"--appendfsync", "always"}} {
		if i := slices.Index(all["redis"].Command, want[0]); i < 0 || all["redis"].Command[i+1] != want[1] {
			t.Errorf("Redis is not started with %v", want)
		}
	}
}

// What compose.yaml starts, started by hand as it says, but on free ports: its Redis is
// one that nodes take, and its two nodes are one deployment that a container's probes
// find well and a container's stop ends in order.
func TestComposeByHand(t *testing.T) {
	t.Parallel()
	all := composeServices(t)
	redis := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{}
		for args := all["redis"].Command[1:]; len(args) > 1; args = args[2:] {
			c.Settings[strings.TrimPrefix(args[0], "--")] = args[1]
		}
	})
	stores := map[string]string{"MOLLIFIER_REDIS": redis.URL(), "MOLLIFIER_POSTGRES": stacktest.Postgres(t)}
	var nodes []*proc
	var data []string
	for _, name := range []string{"node-1", "node-2"} {
		dir := folder(t)
		ours := map[string]string{
			"MOLLIFIER_DATA": dir, "MOLLIFIER_LISTEN": "127.0.0.1:0", "MOLLIFIER_ADMIN": "127.0.0.1:0",
			"MOLLIFIER_SECRET_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		}
		maps.Copy(ours, stores)
		variables := []string{"MOLLIFIER_LOG_FORMAT=json"} // as the image has it
		for variable, value := range all[name].Environment {
			if own, ok := ours[variable]; ok {
				value = own
				delete(ours, variable)
			}
			variables = append(variables, variable+"="+value)
		}
		for variable, value := range ours {
			variables = append(variables, variable+"="+value)
		}
		node := command(t, variables)
		node.waitOut(t, node.stdout, "mollifier is ready at")
		nodes, data = append(nodes, node), append(data, dir)
	}
	c := client(t)
	key := info(t, data[0]).Environments[0].Key
	first := answered(t)(trigger(t.Context(), c, info(t, data[0]).HTTP, key, "k"))
	second := answered(t)(trigger(t.Context(), c, info(t, data[1]).HTTP, key, "k"))
	if first.ID != second.ID || first.IsCached || !second.IsCached {
		t.Errorf("%+v by one node, %+v by the other", first, second)
	}
	for i, node := range nodes {
		listen := strings.TrimPrefix(info(t, data[i]).HTTP, "http://")
		if code, _, complaint := runHere(t, "health", "-listen", listen); code != exitOK {
			t.Errorf("the probe of the image: %d, %s", code, complaint)
		}
		node.stop(t)
	}
}

// The image has no more than it needs, and is no root.
func TestImage(t *testing.T) {
	text := deployFile(t, "Dockerfile")
	_, last, ok := strings.Cut(text, "FROM scratch")
	if !ok {
		t.Fatal("the image is made on top of another")
	}
	for _, want := range []string{"USER 65532:65532", `ENTRYPOINT ["/node"]`, `CMD ["/node", "health"]`, "STOPSIGNAL SIGTERM"} {
		if !strings.Contains(last, want) {
			t.Errorf("the image has no %s", want)
		}
	}
	goMod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(deployFile(t, "../go.mod"))[1]
	if want := "FROM golang:" + goMod + " AS build"; !strings.Contains(text, want) {
		t.Errorf("the image is not built with Go %s, as the module asks", goMod)
	}
}
