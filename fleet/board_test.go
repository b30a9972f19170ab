package fleet

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

func open(t *testing.T) (*redisdb.DB, redis.UniversalClient) {
	t.Helper()
	url, prefix := stacktest.Redis(t)
	db, err := redisdb.New(redisdb.Config{URL: url, Prefix: prefix, Partitions: 4, Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db, stacktest.Client(t, url)
}

func exchange(t *testing.T, b *Board, text string) []Word {
	t.Helper()
	words, err := b.Exchange(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return words
}

// Nodes hear each other's last word, not their own, and not one that was taken back.
func TestExchange(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	a, b := New(db), New(db)
	if words := exchange(t, a, "a1"); len(words) != 0 {
		t.Fatalf("the first node hears %v", words)
	}
	if words := exchange(t, b, "b1"); len(words) != 1 || words[0].Text != "a1" || words[0].Node != a.ID() || words[0].Age < 0 {
		t.Fatalf("the second node hears %v", words)
	}
	exchange(t, a, "a2|with | and \x00 and \n")
	if words := exchange(t, b, "b2"); len(words) != 1 || words[0].Text != "a2|with | and \x00 and \n" {
		t.Errorf("the second node hears %q", words)
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if words := exchange(t, a, "a3"); len(words) != 0 {
		t.Errorf("after it left, the second node says %v", words)
	}
	for _, text := range []string{"", strings.Repeat("x", MaxWord+1)} {
		if _, err := a.Exchange(t.Context(), text); err == nil {
			t.Errorf("a word of %d bytes is taken", len(text))
		}
	}
}

// Who died is told with its age, then dropped; what is no word is dropped at once;
// and the board ends with the last node.
func TestSilence(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	board, b := db.Names().Board(), New(db)
	now := raw.Time(t.Context()).Val()
	at := func(ago time.Duration) string { return fmt.Sprintf("%d|word", now.Add(-ago).UnixMilli()) }
	raw.HSet(t.Context(), board, "silent", at(20*time.Second), "dead", at(Life+time.Second),
		"future", at(-2*Life), "garbage", "word", "older", "|")
	words := exchange(t, b, "here")
	if len(words) != 1 || words[0].Node != "silent" || words[0].Age < 20*time.Second || words[0].Age > Life {
		t.Errorf("heard %v", words)
	}
	if n := raw.HLen(t.Context(), board).Val(); n != 2 {
		t.Errorf("%d words are on the board, not 2", n)
	}
	if ttl := raw.PTTL(t.Context(), board).Val(); ttl <= 0 || ttl > Life {
		t.Errorf("the board ends after %s", ttl)
	}
}

// The board is bounded: whoever finds no room hears the others, and is not heard.
func TestFullBoard(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	first := New(db)
	exchange(t, first, "first")
	now := raw.Time(t.Context()).Val().UnixMilli()
	for i := range Nodes - 1 {
		raw.HSet(t.Context(), db.Names().Board(), fmt.Sprint("node", i), fmt.Sprintf("%d|x", now))
	}
	late := New(db)
	if words := exchange(t, late, "late"); len(words) != Nodes {
		t.Errorf("the late one hears %d", len(words))
	}
	exchange(t, first, "again") // has its room
	if got := raw.HGet(t.Context(), db.Names().Board(), first.ID()).Val(); !strings.HasSuffix(got, "|again") {
		t.Errorf("the first one's word is %q", got)
	}
	if n := raw.HLen(t.Context(), db.Names().Board()).Val(); n != Nodes {
		t.Errorf("%d words are on the board", n)
	}
}

// Many at once: in the end each has heard all others.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	const nodes = 16
	boards := make([]*Board, nodes)
	var all sync.WaitGroup
	for i := range boards {
		boards[i] = New(db)
		all.Go(func() {
			for round := range 10 {
				if _, err := boards[i].Exchange(t.Context(), fmt.Sprint(i, " ", round)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if words := exchange(t, boards[0], "x"); len(words) != nodes-1 {
		t.Errorf("heard %d", len(words))
	}
}
