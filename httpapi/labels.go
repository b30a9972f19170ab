package httpapi

import (
	"context"
	"runtime/pprof"

	"github.com/e0ff5a15/mollifier/tenant"
)

// classes are the labels of goroutines that work for an environment, by its type:
// ids would be too many to read a profile by.
var classes = func() map[tenant.Type]context.Context {
	all := map[tenant.Type]context.Context{}
	for _, t := range []tenant.Type{tenant.Dev, tenant.Staging, tenant.Prod, tenant.Preview} {
		all[t] = pprof.WithLabels(context.Background(), pprof.Labels("environment", string(t)))
	}
	return all
}()

// labelled names this goroutine in profiles by the type of the environment that it
// works for, until the answered function is called.
func labelled(t tenant.Type) (done func()) {
	class, ok := classes[t]
	if !ok {
		return unlabelled
	}
	pprof.SetGoroutineLabels(class)
	return unlabelled
}

func unlabelled() { pprof.SetGoroutineLabels(context.Background()) }
