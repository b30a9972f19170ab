package httpapi

func (a *api) realtimeOperations() []operation { return nil }
