package httpapi

func (a *api) tokenOperations() []operation { return nil }
