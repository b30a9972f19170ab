package httpapi

func (a *api) batchOperations() []operation { return nil }
