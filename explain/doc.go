// Package explain remembers why triggers became what they became. It owns a node's
// memory of recent decisions, the words for them, and what an explanation consists of.
// What the stores know is brought along by who asks.
//
// A node remembers a bounded number of events, the latest ones, and only its own:
// that the gate mollified a trigger, or passed it for another reason than its rate;
// that a store could not take it; which run answered repeats of a key, and how many;
// and refusals. A trigger that was below the rate and made its run leaves nothing
// here, or a quiet fleet's memory would hold nothing else. So no event is no proof;
// an explanation says what is not known any more, or is another node's to know.
//
// Events are told on the way of a trigger and cost it a lock that is shared by a part
// of the keys, and no allocation. They hold ids and hashes and no customer's text.
// Nothing depends on them.
package explain
