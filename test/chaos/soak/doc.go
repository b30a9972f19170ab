// Package soak says whether something that was measured again and again has grown.
//
// # The rule
//
// The first third of a soak is not judged: caches fill, pools open. Of the rest, the slope
// is the median of the slopes between all pairs of samples (Theil and Sen): a single spike,
// a collection of garbage or an autovacuum does not tilt it, and neither does a third of
// bad samples. The growth is the slope times the time that was judged, or the difference
// between the medians of its last and its first quarter, which sees a step; the greater of
// the two. A series is flat if
// it has grown by no more than a tenth of its median, or than what its kind is allowed
// ([Kind].Allowed), whichever is more; a fall is flat. With fewer than twelve samples
// nothing is said: too short.
//
// So a leak is found if it makes a tenth in two thirds of the soak. A slower one needs a
// longer soak: that is what DURATION is for.
package soak
