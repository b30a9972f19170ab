package httpapi

func (a *api) packetOperations() []operation { return nil }
