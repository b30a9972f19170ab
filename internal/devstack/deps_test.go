//go:build unix

package devstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The releases of the platforms that are told apart.
const (
	debian = "ID=debian\nVERSION_ID=\"12\"\n"
	ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n"
	mint   = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"
	odd    = "ID=odd\n"
	fedora = "ID=fedora\nVERSION_ID=42\n"
	rocky9 = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.5\"\n"
	alpine = "ID=alpine\nVERSION_ID=3.22.0\n"
)

const (
	goTool     = "echo go version go1.26.8 linux/amd64"
	redis7     = "echo 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0'"
	redis6     = "echo 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0'"
	valkey8    = "echo 'Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0'"
	postgres15 = "echo 'postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)'"
	postgres13 = "echo 'postgres (PostgreSQL) 13.20'"
)

// fakeMachine is a root folder and a PATH in which only what a test names can be
// found.
type fakeMachine struct {
	t    *testing.T
	root string
	bin  string
}

func newFakeMachine(t *testing.T, osRelease, uid string) *fakeMachine {
	t.Helper()
	m := &fakeMachine{t, t.TempDir(), t.TempDir()}
	m.file("etc/os-release", osRelease, 0o644)
	m.file("usr/sbin/.keep", "", 0o644)
	for _, tool := range []string{"sh", "sed", "cat", "mktemp", "rm", "chmod", "dirname", "mkdir"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Skipf("no %s here", tool)
		}
		if err := os.Symlink(path, filepath.Join(m.bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	m.tool("id", "echo "+uid)
	return m
}

func (m *fakeMachine) file(name, text string, mode os.FileMode) {
	m.t.Helper()
	file := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// tool puts a program in PATH.
func (m *fakeMachine) tool(name, script string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// program puts a program at a path below the root.
func (m *fakeMachine) program(name, script string) {
	m.t.Helper()
	m.file(name, "#!/bin/sh\n"+script+"\n", 0o755)
}

func (m *fakeMachine) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(m.root, name))
	return err == nil
}

// deps runs the script and returns what it said and whether it was content.
func (m *fakeMachine) deps() (said string, ok bool) {
	m.t.Helper()
	cmd := exec.Command("/bin/sh", filepath.Join("..", "..", "scripts", "deps.sh"))
	cmd.Env = []string{
		"PATH=" + m.bin, "MOLLIFIER_DEPS_ROOT=" + m.root, "FAKE_ROOT=" + m.root, "FAKE_BIN=" + m.bin,
		"TMPDIR=" + m.t.TempDir(),
	}
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func TestDepsIsContent(t *testing.T) {
	t.Parallel()
	tests := map[string]map[string]string{
		"Debian's folders": {
			"usr/bin/redis-server": redis7, "usr/lib/postgresql/15/bin/postgres": postgres15, "usr/lib/postgresql/15/bin/initdb": "",
		},
		"Valkey, and an older Postgres beside a newer": {
			"usr/bin/valkey-server":     valkey8,
			"usr/pgsql-13/bin/initdb":   "",
			"usr/pgsql-13/bin/postgres": postgres13,
			"usr/pgsql-15/bin/initdb":   "",
			"usr/pgsql-15/bin/postgres": postgres15,
		},
		"Homebrew": {
			"opt/homebrew/bin/redis-server":               redis7,
			"opt/homebrew/opt/postgresql@15/bin/initdb":   "",
			"opt/homebrew/opt/postgresql@15/bin/postgres": postgres15,
		},
		"Alpine": {
			"usr/bin/redis-server": redis7, "usr/libexec/postgresql15/initdb": "", "usr/libexec/postgresql15/postgres": postgres15,
		},
	}
	for name, programs := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newFakeMachine(t, odd, "1000")
			m.tool("go", goTool)
			for file, script := range programs {
				m.program(file, script)
			}
			if said, ok := m.deps(); !ok || said != "" {
				t.Errorf("it said %q, %v, want silence", said, ok)
			}
		})
	}
}

// Where it may not install, it says what to type, and the node says the same.
func TestDepsSaysWhatToType(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, osRelease, uid, tool string
		redis, postgres            string // the commands for one of them
		both                       string
	}{
		{"Debian user", debian, "1000", "apt-get", "sudo apt-get update && sudo apt-get install -y redis-server", "sudo apt-get update && sudo apt-get install -y postgresql", "sudo apt-get update && sudo apt-get install -y redis-server postgresql"},
		{"root where apt is not at home", odd, "0", "apt-get", "apt-get update && apt-get install -y redis-server", "apt-get update && apt-get install -y postgresql", "apt-get update && apt-get install -y redis-server postgresql"},
		{"Fedora", fedora, "1000", "dnf", "sudo dnf install -y valkey", "sudo dnf install -y postgresql-server", "sudo dnf install -y valkey postgresql-server"},
		{"Rocky Linux 9", rocky9, "1000", "dnf", "sudo dnf install -y @redis:7", "sudo dnf install -y @postgresql:16", "sudo dnf install -y @redis:7 @postgresql:16"},
		{"Alpine, root", alpine, "0", "apk", "apk add redis", "apk add postgresql", "apk add redis postgresql"},
		{"macOS", "", "501", "brew", "brew install redis", "brew install postgresql@17", "brew install redis postgresql@17"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, have := range []string{"", "redis", "postgres"} {
				m := newFakeMachine(t, tt.osRelease, tt.uid)
				m.tool("go", goTool)
				m.tool(tt.tool, ": >$FAKE_ROOT/called")
				m.tool("sudo", ": >$FAKE_ROOT/called")
				want := tt.both
				switch have {
				case "redis":
					m.tool("redis-server", redis7)
					want = tt.postgres
				case "postgres":
					m.tool("initdb", "")
					m.tool("postgres", postgres15)
					want = tt.redis
				}
				said, ok := m.deps()
				if ok || !strings.Contains(said, "install with: "+want+"\n") {
					t.Errorf("with %q there: it said %q, %v, want the command %q", have, said, ok, want)
				}
				if m.exists("called") {
					t.Error("it called a package manager or sudo")
				}
			}
			node := machine{tt.uid == "0", tt.osRelease, func(tool string) bool { return tool == tt.tool }}
			if got := node.installCommand("redis-server"); got != tt.redis {
				t.Errorf("the node says %q, want %q", got, tt.redis)
			}
			if got := node.installCommand("postgres"); got != tt.postgres {
				t.Errorf("the node says %q, want %q", got, tt.postgres)
			}
		})
	}
}

// fakeApt installs by writing programs; its lists are there after an update.
const fakeApt = `
echo "$@" >>$FAKE_ROOT/apt.log
[ -e $FAKE_ROOT/usr/sbin/policy-rc.d ] && echo blocked >>$FAKE_ROOT/apt.log
case " $* " in
*" update "*) mkdir -p $FAKE_ROOT/var/lib/apt/lists; : >$FAKE_ROOT/var/lib/apt/lists/a_Packages; exit 0 ;;
esac
[ -e $FAKE_ROOT/var/lib/apt/lists/a_Packages ] || { echo "E: Unable to locate package"; exit 100; }
case " $* " in
*" redis-server "*) printf '#!/bin/sh\n%s\n' "$FAKE_REDIS" >$FAKE_BIN/redis-server; chmod +x $FAKE_BIN/redis-server ;;
esac
case " $* " in
*" postgresql "*)
	printf '#!/bin/sh\n' >$FAKE_BIN/initdb
	printf '#!/bin/sh\n%s\n' "$FAKE_POSTGRES" >$FAKE_BIN/postgres
	chmod +x $FAKE_BIN/initdb $FAKE_BIN/postgres ;;
esac
`

func TestDepsInstallsByApt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, osRelease string
		lists, redis    bool
		updates         int
		packages        string
	}{
		{"fresh Debian image", debian, false, false, 1, " redis-server postgresql"},
		{"Ubuntu with lists", ubuntu, true, false, 0, " redis-server postgresql"},
		{"a relative, Redis is there", mint, true, true, 0, " postgresql"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newFakeMachine(t, tt.osRelease, "0")
			m.tool("go", goTool)
			m.tool("apt-get", "FAKE_REDIS=\""+redis7+"\" FAKE_POSTGRES=\""+postgres15+"\"\n"+fakeApt)
			if tt.lists {
				m.file("var/lib/apt/lists/a_Packages", "", 0o644)
			}
			if tt.redis {
				m.tool("redis-server", redis7)
			}
			said, ok := m.deps()
			if !ok || !strings.Contains(said, "installing"+tt.packages+" with apt") {
				t.Errorf("it said %q, %v", said, ok)
			}
			log, err := os.ReadFile(filepath.Join(m.root, "apt.log"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(log), " update\n"); got != tt.updates {
				t.Errorf("%d updates, want %d: %s", got, tt.updates, log)
			}
			if !strings.Contains(string(log), tt.packages+"\n") || strings.Count(string(log), "blocked\n") != strings.Count(string(log), "-y ") {
				t.Errorf("apt was called so: %s", log)
			}
			if m.exists("usr/sbin/policy-rc.d") {
				t.Error("services stay blocked afterwards")
			}
			if said, ok := m.deps(); !ok || said != "" {
				t.Errorf("the second time it said %q, %v", said, ok)
			}
		})
	}
}

func TestDepsInstallFails(t *testing.T) {
	t.Parallel()
	t.Run("apt fails", func(t *testing.T) {
		t.Parallel()
		m := newFakeMachine(t, debian, "0")
		m.tool("go", goTool)
		m.tool("apt-get", "echo 'E: no network'; exit 100")
		m.file("usr/sbin/policy-rc.d", "the owner's", 0o755)
		said, ok := m.deps()
		if ok || !strings.Contains(said, "E: no network") || !strings.Contains(said, "could not install") {
			t.Errorf("it said %q, %v", said, ok)
		}
		if !m.exists("usr/sbin/policy-rc.d") {
			t.Error("it removed a policy that was not its own")
		}
	})
	t.Run("packages are too old", func(t *testing.T) {
		t.Parallel()
		m := newFakeMachine(t, debian, "0")
		m.tool("go", goTool)
		m.tool("apt-get", "FAKE_REDIS=\""+redis6+"\" FAKE_POSTGRES=\""+postgres13+"\"\n"+fakeApt)
		said, ok := m.deps()
		if ok || !strings.Contains(said, "(version 6)") || !strings.Contains(said, "(version 13)") || !strings.Contains(said, "too old") {
			t.Errorf("it said %q, %v", said, ok)
		}
	})
}

func TestDepsChecksGo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script, brew, want string
	}{
		{"none", "", "", "not in PATH; install it from https://go.dev/dl/"},
		{"none, with Homebrew", "", "yes", "brew install go"},
		{"too old", "echo go version go1.19.8 linux/amd64", "", "this is Go 1.19.8"},
		{"much too old", "echo go version go0.9 linux/amd64", "", "this is Go 0.9"},
		{"cannot fetch a newer one", "echo 'go: download go1.26: no network'; exit 1", "", "no network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newFakeMachine(t, odd, "1000")
			if tt.script != "" {
				m.tool("go", tt.script)
			}
			if tt.brew != "" {
				m.tool("brew", "exit 1")
			}
			said, ok := m.deps()
			if ok || !strings.Contains(said, "Go 1.26 or newer is needed") || !strings.Contains(said, tt.want) {
				t.Errorf("it said %q, %v, want %q", said, ok, tt.want)
			}
		})
	}
	m := newFakeMachine(t, odd, "1000")
	m.program("usr/local/go/bin/go", goTool)
	if said, ok := m.deps(); ok || !strings.Contains(said, "export PATH=$PATH:/usr/local/go/bin") {
		t.Errorf("Go beside PATH: it said %q, %v", said, ok)
	}
	for _, version := range []string{"go1.26", "go1.27rc1", "go2.0", "devel go1.28-abcdef"} {
		m := newFakeMachine(t, odd, "1000")
		m.tool("go", "echo go version "+version+" linux/amd64")
		if said, _ := m.deps(); strings.Contains(said, "Go 1.26 or newer") {
			t.Errorf("%s is refused: %s", version, said)
		}
	}
}
