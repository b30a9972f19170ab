package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peterbourgon/ff/v3"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/live"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

const (
	envPrefix   = "MOLLIFIER"
	rootHelp    = rootHelpFlags + rootHelpStores
	offListener = "off"

	rootHelpFlags = `Every flag may also be given as a variable, MOLLIFIER_ and the name in capitals
with _ for - (MOLLIFIER_CLAIM_TTL), or as a line "name value" of a -config file
(or a member of a JSON object in it). A flag wins over a variable, a variable
over the file; what is unknown is refused by name. An empty variable counts as
not set. Durations are written 250ms, 10s, 1m30s, 1h.
`
	rootHelpStores = `
Without -redis and -postgres the node starts private ones in the data folder and
stops them when it ends. To run a second node on them, give it a -data of its
own, the -redis and -postgres found in the first one's stack.json, and the first
one's -secret-key-file. SIGINT or SIGTERM stops in order, a second one at once.`
)

// settings are the values of all flags of the serving node; the other commands
// share the ones they need.
type settings struct {
	data, listen, admin string
	name                string
	adminTokens         string
	secret, secretFile  string
	seed                bool
	stopTimeout         time.Duration
	logLevel            slog.Level
	logFormat           string
	config              string
	engine              mollifier.Config
	gate, algorithm     string
	pressure            bool
	gateRecord          string
	gateRecordBytes     int64
	drain, divert       bool
	ringBytes           int64
	packets             packetSettings
	publicURL           string
	rateLimit           httpapi.RateLimit
	corsOrigins         string
	telemetry           telemetrySettings

	serve *flag.FlagSet // defines every flag
}

func newSettings() *settings {
	s := &settings{serve: flag.NewFlagSet("node", flag.ContinueOnError)}
	fs, def := s.serve, mollifier.Config{}.WithDefaults()
	fs.StringVar(&s.data, "data", "./data", "`folder` of the private stores, the secret key and stack.json; one node per folder")
	fs.StringVar(&s.listen, "listen", "127.0.0.1:8030", "`address` of the API, host:port; port 0 takes a free one")
	fs.StringVar(&s.admin, "admin", "127.0.0.1:0", "`address` of the door for workers, operators, counters and profiles, host:port, and of the live page; only changes by operators ask for a token; port 0 takes a free one, \"off\" disables it")
	fs.StringVar(&s.adminTokens, "admin-tokens", "", "`file` of who may change the deployment through -admin, lines of a name and a token; made, mode 0600, with one token, if it is missing (default admin.tokens in the data folder)")
	fs.StringVar(&s.name, "name", "", "what the live page, explanations and the audit call this node, at most 64 characters (default the machine's name and the port of -listen)")
	fs.StringVar(&s.engine.Redis, "redis", "", "`URL` of the Redis that holds the claims, redis:// or rediss://; empty starts a private one")
	fs.StringVar(&s.engine.Postgres, "postgres", "", "`URL` of the Postgres that holds the runs, postgres://; empty starts a private one")
	fs.StringVar(&s.engine.Prefix, "prefix", def.Prefix, "`text` that begins every Redis key, 1 to 64 characters of [A-Za-z0-9_.:-]; the same on all nodes")
	fs.IntVar(&s.engine.Partitions, "partitions", def.Partitions, "partitions of the deployment, 1 to 1024; fixed for its life, the same on all nodes")
	fs.IntVar(&s.engine.Shards, "shards", 0, "actors that own the partitions on this node, at most -partitions; 0 takes four for each CPU")
	fs.DurationVar(&s.engine.ClaimTTL, "claim-ttl", def.ClaimTTL, "how long a claim lives without renewal, 5s to 30s")
	fs.DurationVar(&s.engine.WaitBudget, "wait-budget", def.WaitBudget, "how long a trigger waits for the owner of its key before it is refused with 503, at most 1m")
	fs.IntVar(&s.engine.MaxCallers, "max-callers", def.MaxCallers, "triggers that may wait for an answer at once; more are refused with 503")
	fs.Int64Var(&s.engine.MaxBytes, "max-bytes", def.MaxBytes, "bytes of triggers that may wait for an answer at once, and as many of requests that arrive; more are refused with 503")
	fs.IntVar(&s.engine.PostgresConns, "postgres-conns", def.PostgresConns, "most Postgres connections that the engine opens, 4 to 1000")
	fs.StringVar(&s.gate, "gate", "on", "`mode` of the gate: on; shadow, which also counts and reports what would be mollified of organisations that are not enrolled; off, which mollifies nothing and makes no claims")
	fs.DurationVar(&s.engine.Gate.Window, "gate-window", def.Gate.Window, "time over which an environment's triggers are counted, 1ms to 1h; the same on all nodes")
	fs.IntVar(&s.engine.Gate.Threshold, "gate-threshold", def.Gate.Threshold, "triggers of an environment in a window, over which they are mollified, 1 to 1000000; the same on all nodes")
	fs.DurationVar(&s.engine.Gate.Hold, "gate-hold", def.Gate.Hold, "how long an environment stays mollified after the last trigger over the threshold, 1ms to 1h; the same on all nodes")
	fs.BoolVar(&s.pressure, "gate-pressure", true, "mollify all environments while Postgres is slow, fails or has no connection free")
	fs.StringVar(&s.algorithm, "gate-algorithm", gate.FixedWindow.String(), "`way` of counting: fixed, by windows; or gcra, which knows no edge of windows at which twice the threshold may pass")
	fs.StringVar(&s.gateRecord, "gate-record", "", "`folder` for files of what the gate counts and decides, for node gate replay; empty writes none, and the last 8 MiB of it are in memory")
	fs.Int64Var(&s.gateRecordBytes, "gate-record-bytes", 256<<20, "about the most bytes of the files of -gate-record, at least 1048576; the oldest are removed")
	fs.IntVar(&s.engine.Buffer.MaxEntries, "buffer-entries", def.Buffer.MaxEntries, "most runs of one environment in the buffer, at least 1; more are refused with 429")
	fs.Int64Var(&s.engine.Buffer.MaxBytes, "buffer-bytes", def.Buffer.MaxBytes, "most bytes of one environment in the buffer, at least 3145728; more are refused with 429")
	fs.IntVar(&s.engine.Buffer.TotalEntries, "buffer-total-entries", def.Buffer.TotalEntries, "most runs in the buffer, at least -buffer-entries; more are refused with 503")
	fs.Int64Var(&s.engine.Buffer.TotalBytes, "buffer-total-bytes", def.Buffer.TotalBytes, "most bytes in the buffer, at least -buffer-bytes; more are refused with 503")
	fs.DurationVar(&s.engine.Buffer.MaxAge, "buffer-age", def.Buffer.MaxAge, "age of the oldest run in the buffer over which it takes no more and refuses with 503, at least 1m")
	fs.StringVar((*string)(&s.engine.Durability), "durability", "", "`what` a run in the buffer must have survived before it is answered: redis, as the server is; redis-fsync; redis-replica, one replica; what does not become so in time is settled in Postgres (default redis)")
	fs.Int64Var(&s.ringBytes, "ring-bytes", def.RingBytes, "most bytes that this node keeps of runs that only Redis holds, to put them back if Redis loses them; 0 keeps none")
	fs.BoolVar(&s.drain, "drain", true, "move runs from the buffer into Postgres on this node; some node has to")
	fs.BoolVar(&s.divert, "divert", true, "take triggers into the buffer while Postgres is down, instead of refusing them")
	fs.StringVar(&s.packets.place, "packets", "", "`place` of large payloads that clients upload: a folder; or s3://KEY:SECRET@HOST/BUCKET[/PREFIX][?region=R&tls=false&style=path|host], better given as a variable; or off (default packets in the data folder)")
	fs.Int64Var(&s.packets.bytes, "packets-bytes", 10<<30, "most bytes of one environment in the folder of -packets, at least 67108864; more are refused with 429")
	fs.DurationVar(&s.packets.keep, "packets-keep", 0, "age at which a file in the folder of -packets is removed, longer than any run may wait and be read; 0 keeps them for ever")
	fs.StringVar(&s.publicURL, "public-url", "", "`URL` by which clients reach the API, for URLs in answers, http:// or https:// with any prefix of its path; empty takes what the request says")
	fs.IntVar(&s.rateLimit.Burst, "rate-limit", 0, "requests that an environment may make to this node at once, after which -rate-refill applies and more are refused with 429; 0 for no limit")
	fs.Float64Var(&s.rateLimit.PerSecond, "rate-refill", 25, "requests a second by which -rate-limit is filled again, more than 0")
	fs.StringVar(&s.corsOrigins, "cors-origins", "", "`origins`, separated by commas, whose pages may use the API from a browser, as https://app.example; * is every one; empty is none")
	fs.StringVar(&s.telemetry.otlp, "otlp", "", "`URL` of an OpenTelemetry collector that gets traces by OTLP over HTTP, http:// or https://, as http://localhost:4318; empty sends none")
	fs.Float64Var(&s.telemetry.sample, "otlp-sample", 0.01, "share of triggers that are traced, 0 to 1, of those whose request does not say itself whether it is")
	fs.DurationVar(&s.telemetry.slo, "slo", 0, "how long a trigger may take: when over 1% in a second take longer or fail, the last seconds of the runtime's trace go to traces in the data folder; 0 records nothing, at most 1m")
	fs.DurationVar(&s.engine.Retention.Runs, "keep", 0, "how long a run is kept in Postgres after it has ended and its key's time is over, at least 1m and better days; 0 keeps runs for ever; the same on all nodes")
	fs.DurationVar(&s.engine.Retention.Audit, "keep-audit", 0, "how long the record of what operators did is kept, at least 1m; 0 keeps it for ever")
	fs.DurationVar(&s.stopTimeout, "stop-timeout", 30*time.Second, "how long a stop may take before what is left is cut off")
	fs.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "least `level` that is logged to standard error: debug, info, warn or error")
	fs.StringVar(&s.logFormat, "log-format", "text", "`form` of the log: text or json")
	fs.StringVar(&s.secret, "secret-key", "", "`key` that API keys are sealed with in Postgres, the base64 of 32 bytes; the same on all nodes; better given as a variable, as other users of the machine may read a flag")
	fs.StringVar(&s.secretFile, "secret-key-file", "", "`file` that holds the secret key; made, mode 0600, if it is missing (default secret.key in the data folder)")
	fs.BoolVar(&s.seed, "seed", true, "make the environments dev and prod if there are none (default true with private stores, false otherwise)")
	fs.StringVar(&s.config, "config", "", "`file` of settings; see above")
	return s
}

func (s *settings) flags() *flag.FlagSet { return s.serve }

// subset makes a command's flag set of some of the settings. They keep their
// values' identity, so that a command reads them from s.
func (s *settings) subset(command string, names ...string) *flag.FlagSet {
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	for _, name := range append(names, "config") {
		f := s.serve.Lookup(name)
		fs.Var(f.Value, name, f.Usage)
	}
	return fs
}

// options has a command's flags read from variables and the -config file as well.
func (s *settings) options() []ff.Option {
	return []ff.Option{
		ff.WithEnvVarPrefix(envPrefix),
		ff.WithConfigFileFlag("config"),
		ff.WithConfigFileParser(parseConfig),
	}
}

// subsetOptions is options for a command that does not know every setting: the
// others may stand in the file, which serves all commands.
func (s *settings) subsetOptions(fs *flag.FlagSet) []ff.Option {
	parse := func(r io.Reader, set func(name, value string) error) error {
		return parseConfig(r, func(name, value string) error {
			if fs.Lookup(name) == nil && s.serve.Lookup(name) != nil {
				return nil
			}
			return set(name, value)
		})
	}
	return append(s.options(), ff.WithConfigFileParser(parse))
}

// parseConfig reads a configuration file: a JSON object if it begins like one,
// otherwise lines of "name value".
func parseConfig(r io.Reader, set func(name, value string) error) error {
	text := bufio.NewReader(r)
	first, err := text.Peek(1)
	for err == nil && strings.ContainsAny(string(first), " \t\r\n") {
		if _, err = text.Discard(1); err == nil {
			first, err = text.Peek(1)
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	case first[0] == '{':
		return ff.JSONParser(text, set)
	}
	return ff.PlainParser(text, set)
}

// variable is the environment variable of a flag.
func variable(flagName string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// refuseUnknownVariables finds the typing errors: a variable that begins like
// ours and is none would otherwise be a setting without effect.
func refuseUnknownVariables(environ []string) error {
	known := map[string]bool{}
	newSettings().serve.VisitAll(func(f *flag.Flag) { known[variable(f.Name)] = true })
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, envPrefix+"_") && !known[name] {
			return usagef("unknown environment variable %s", name)
		}
	}
	return nil
}

// private reports whether the node has to run stores of its own.
func (s *settings) private() bool { return s.engine.Redis == "" && s.engine.Postgres == "" }

// check refuses what can be seen to be wrong before anything is started, and
// settles the defaults that depend on other flags.
func (s *settings) check() error {
	if problems := s.problems(); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// problems are all that can be seen to be wrong, each by its flag.
func (s *settings) problems() (all []error) {
	for _, check := range []func() error{
		s.checkListeners, s.checkStores, s.checkSecret, s.checkProcess, s.checkStorm, s.checkPackets, s.checkAPI,
		s.telemetry.check, s.checkEngine,
	} {
		switch err := check().(type) {
		case nil:
		case interface{ Unwrap() []error }:
			all = append(all, err.Unwrap()...)
		default:
			all = append(all, err)
		}
	}
	return all
}

// checkListeners refuses addresses that can not be, and one for both.
func (s *settings) checkListeners() error {
	var errs []error
	for name, address := range map[string]string{"listen": s.listen, "admin": s.admin} {
		if _, _, err := net.SplitHostPort(address); err != nil && !(name == "admin" && address == offListener) {
			errs = append(errs, usagef("-%s: must be host:port", name))
		}
	}
	if _, port, _ := net.SplitHostPort(s.listen); s.listen == s.admin && port != "0" {
		errs = append(errs, usagef("-admin: must not be the address of -listen"))
	}
	return errors.Join(errs...)
}

// checkProcess is about the process: its name, its log, its stop.
func (s *settings) checkProcess() error {
	var errs []error
	if s.logFormat != "text" && s.logFormat != "json" {
		errs = append(errs, usagef("-log-format: %q is neither text nor json", s.logFormat))
	}
	if utf8.RuneCountInString(s.name) > live.NameMost || !utf8.ValidString(s.name) {
		errs = append(errs, usagef("-name: must be at most %d characters of UTF-8", live.NameMost))
	}
	if s.stopTimeout <= 0 {
		errs = append(errs, usagef("-stop-timeout: must be more than 0"))
	}
	return errors.Join(errs...)
}

// checkEngine refuses what no engine can run with. A zero that was given is no request
// for the default, which is a library's convention; only -shards has one.
func (s *settings) checkEngine() error {
	given := s.engine
	engine := given.WithDefaults()
	engine.Prefix, engine.Partitions, engine.PostgresConns = given.Prefix, given.Partitions, given.PostgresConns
	engine.ClaimTTL, engine.WaitBudget = given.ClaimTTL, given.WaitBudget
	engine.MaxCallers, engine.MaxBytes, engine.Buffer = given.MaxCallers, given.MaxBytes, given.Buffer
	if s.engine.Redis == "" {
		engine.Redis = "private"
	}
	if s.engine.Postgres == "" {
		engine.Postgres = "private"
	}
	var errs []error
	for _, err := range engine.Problems() {
		errs = append(errs, usageError{flagNamed(err)})
	}
	return errors.Join(errs...)
}

// checkStorm settles what the gate is set to. A zero that was given is refused,
// like every other value out of range.
func (s *settings) checkStorm() error {
	var errs []error
	g := &s.engine.Gate
	switch s.gate {
	case "on", "shadow", "off":
		g.Off, g.Shadow = s.gate == "off", s.gate == "shadow"
	default:
		errs = append(errs, usagef("-gate: %q is none of on, shadow, off", s.gate))
	}
	g.RateOnly = !s.pressure
	switch s.algorithm {
	case gate.FixedWindow.String(), gate.GCRA.String():
		g.Smooth = s.algorithm == gate.GCRA.String()
	default:
		errs = append(errs, usagef("-gate-algorithm: %q is neither %v nor %v", s.algorithm, gate.FixedWindow, gate.GCRA))
	}
	least := time.Millisecond
	if g.Window < least || g.Window > time.Hour {
		errs = append(errs, usagef("-gate-window: must be 1ms to 1h"))
	}
	if g.Hold < least || g.Hold > time.Hour {
		errs = append(errs, usagef("-gate-hold: must be 1ms to 1h"))
	}
	if g.Threshold < 1 || g.Threshold > 1_000_000 || g.Window >= least && int64(g.Threshold) > g.Window.Microseconds() {
		errs = append(errs, usagef("-gate-threshold: must be 1 to 1000000, and at most one for each microsecond of -gate-window"))
	}
	if s.gateRecordBytes < gateRecordLeast {
		errs = append(errs, usagef("-gate-record-bytes: must be at least %d", gateRecordLeast))
	}
	s.engine.NoDrain, s.engine.NoDivert = !s.drain, !s.divert
	switch s.engine.Durability {
	case "", run.DurableRedis, run.DurableRedisFsync, run.DurableRedisReplica:
	default:
		return usagef("-durability: %q is none of redis, redis-fsync, redis-replica", s.engine.Durability)
	}
	switch s.engine.RingBytes = s.ringBytes; {
	case s.ringBytes < 0:
		errs = append(errs, usagef("-ring-bytes: must be at least 0"))
	case s.ringBytes == 0:
		s.engine.RingBytes = -1
	}
	return errors.Join(errs...)
}

// checkStores refuses half a pair, and settles whether seeds are made.
func (s *settings) checkStores() error {
	switch {
	case s.engine.Redis == "" && s.engine.Postgres != "":
		return usagef("-postgres is given without -redis: give both, or neither for private stores")
	case s.engine.Redis != "" && s.engine.Postgres == "":
		return usagef("-redis is given without -postgres: give both, or neither for private stores")
	}
	if !s.private() {
		seedGiven := false
		s.serve.Visit(func(f *flag.Flag) { seedGiven = seedGiven || f.Name == "seed" })
		s.seed = s.seed && seedGiven
	}
	return nil
}

// checkSecret settles where the secret key and the admin tokens come from.
func (s *settings) checkSecret() error {
	if s.adminTokens == "" {
		s.adminTokens = filepath.Join(s.data, "admin.tokens")
	}
	switch {
	case s.data == "":
		return usagef("-data: must not be empty")
	case s.secret != "" && s.secretFile != "":
		return usagef("-secret-key and -secret-key-file: give one of them")
	case s.secret != "":
		if _, err := tenant.ParseSecretKey(s.secret); err != nil {
			return usagef("-secret-key: %w", err)
		}
	case s.secretFile == "":
		s.secretFile = filepath.Join(s.data, "secret.key")
	}
	return nil
}

// flagNamed puts the flag's name in front of an error about the engine field
// that it sets.
func flagNamed(err error) error {
	for field, name := range map[string]string{
		"Redis": "redis", "Postgres": "postgres", "Prefix": "prefix", "Partitions": "partitions",
		"Shards": "shards", "ClaimTTL": "claim-ttl", "WaitBudget": "wait-budget",
		"PostgresConns": "postgres-conns", "Node": "name", "MaxCallers": "max-callers", "MaxBytes": "max-bytes",
		"Buffer.MaxEntries": "buffer-entries", "Buffer.MaxBytes": "buffer-bytes", "Buffer.MaxAge": "buffer-age",
		"Retention.Runs": "keep", "Retention.Audit": "keep-audit",
		"Buffer.TotalEntries": "buffer-total-entries", "Buffer.TotalBytes": "buffer-total-bytes",
	} {
		if _, after, found := strings.Cut(err.Error(), "Config."+field); found && strings.ContainsAny(after[:min(1, len(after))], " :") {
			return fmt.Errorf("-%s: %w", name, err)
		}
	}
	return err
}

func (s *settings) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.logLevel}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
