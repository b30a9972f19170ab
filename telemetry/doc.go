// Package telemetry is what an engine and its node tell OpenTelemetry: metrics and
// traces, over the providers that it is given. It sets no global, keeps no state of
// its own but a few counters, and without a provider it does nothing.
//
// One table, [Metrics], has every metric with its unit, its labels and their bounds;
// instruments are made from it alone, and docs/metrics.md is written from it. No label
// has the id of an environment, a key, a run or a task; an organisation is a label only
// if it is enrolled, and only of the few that have the most in the buffer.
//
// What happens for each trigger is counted in atomics by whoever does it, as without
// telemetry, and read by callbacks when somebody collects. Histograms are told once a
// batch, or once for what is rare. So a trigger allocates nothing more when it is
// measured, and two nil checks when it is not.
//
// A trigger's trace begins with the request that brought it (W3C trace context). What
// is sampled leaves its context with the run, in the buffer and in Postgres. The drain
// is nobody's child: one transaction writes the runs of many traces. It has a trace of
// its own that links to theirs, and each run's trace gets a span that links back.
package telemetry
