package actors

// SameShare reports whether two environments happen to have one share of the places.
func (s *Shards) SameShare(a, b string) bool { return s.shares.of(a) == s.shares.of(b) }
