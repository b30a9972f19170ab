package main

import (
	"cmp"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// operatorCommands are those that talk to a running node.
func (a *app) operatorCommands(set *settings) []*ffcli.Command {
	return []*ffcli.Command{
		group("gate", "Override the gate of an environment, or replay what gates have decided.",
			a.gateList(set), a.gateSet(set), a.gateClear(set), a.gateRecordCommand(set), a.gateReplayCommand()),
		group("drain", "Pause the drain, or wait until the buffer is empty.", a.drainPause(set), a.drainResume(set), a.drainWait(set)),
		group("buffer", "Look into the buffer, or cancel what waits there.", a.bufferList(set), a.bufferPurge(set)),
		a.auditCommand(set), a.explainCommand(set),
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

type changedJSON struct {
	Environment string `json:"environment"`
	Version     int64  `json:"version"`
}

func (out output) changed(c changedJSON, what string) error {
	return out.print(c, []string{"ENVIRONMENT", "CHANGE", "VERSION"},
		[][]string{{cmp.Or(c.Environment, "(all)"), what, strconv.FormatInt(c.Version, 10)}})
}
