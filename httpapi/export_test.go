package httpapi

// Operation is what tests of all operations go by.
type Operation struct{ ID, Method, Path, Scope string }

// Operations are all public operations.
func Operations() (all []Operation) {
	for _, op := range (&api{}).operations() {
		all = append(all, Operation{op.id, op.method, op.path, op.scope})
	}
	return all
}
