package main

import (
	"os"

	"github.com/e0ff5a15/mollifier/live"
)

// newLive makes what the live page shows of this node.
func (n *node) newLive() *live.Recorder {
	return live.New(live.Config{
		Engine: n.engine, Name: n.set.nodeName(n.api), Version: buildVersion(), Logger: n.log,
		Environment: func(id string) (string, bool) {
			e, ok := n.tenants.Environment(id)
			if !ok {
				return "", true
			}
			return e.Organisation.Name + "/" + e.Name, e.Organisation.Enrolled
		},
		Organisation: func(id string) string {
			o, _ := n.tenants.Organisation(id)
			return o.Name
		},
	})
}

// nodeName is the name given, or the machine's with the port of the API.
func (s *settings) nodeName(api *front) string {
	if s.name != "" {
		return s.name
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "node"
	}
	port := ":" + api.port()
	return machine[:min(len(machine), live.NameMost-len(port))] + port
}
