package fleet

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
)

const (
	// Life is how long a word is known after it was left.
	Life = 30 * time.Second
	// Nodes is how many have room on the board.
	Nodes = 256
	// MaxWord bounds a word, in bytes.
	MaxWord = 2048
)

//go:embed lua/exchange.lua
var exchangeLua string

var exchangeScript = redisdb.NewScript(exchangeLua)

// Redis is what a board needs of Redis: [redisdb.DB] is one.
type Redis interface {
	Run(ctx context.Context, calls []redisdb.Call) []redisdb.Result
	Names() redisdb.Names
}

// Board is one node's view of the deployment's board. Its methods are safe for
// concurrent use.
type Board struct {
	redis Redis
	node  string
}

// New draws the node's id; it does not touch the network.
func New(redis Redis) *Board { return &Board{redis: redis, node: rand.Text()} }

// ID is this node's: no other process has it.
func (b *Board) ID() string { return b.node }

// Word is what another node has said of itself.
type Word struct {
	Node string        // its id
	Text string        // as it was given to Exchange there
	Age  time.Duration // by Redis's clock
}

// Exchange leaves the node's word and returns those of the others, in the order of
// their ids. text must be 1 to [MaxWord] bytes. The error wraps
// [run.ErrUnavailable] when Redis gives no answer.
func (b *Board) Exchange(ctx context.Context, text string) ([]Word, error) {
	if text == "" || len(text) > MaxWord {
		return nil, fmt.Errorf("fleet: a word must be 1 to %d bytes", MaxWord)
	}
	return b.exchange(ctx, text)
}

// Leave takes the node's word back.
func (b *Board) Leave(ctx context.Context) error {
	_, err := b.exchange(ctx, "")
	return err
}

func (b *Board) exchange(ctx context.Context, text string) ([]Word, error) {
	result := b.redis.Run(ctx, []redisdb.Call{{
		Script: exchangeScript, Keys: []string{b.redis.Names().Board()},
		Args: []any{b.node, text, Life.Milliseconds(), Nodes},
	}})[0]
	if result.Err != nil {
		return nil, result.Err
	}
	texts, ok := result.Strings(len(result.Values))
	if !ok || len(texts)%3 != 0 {
		return nil, redisdb.Unreadable()
	}
	words := make([]Word, 0, len(texts)/3)
	for triple := range slices.Chunk(texts, 3) {
		age, err := strconv.ParseInt(triple[1], 10, 64)
		if err != nil {
			return nil, redisdb.Unreadable()
		}
		words = append(words, Word{Node: triple[0], Text: triple[2], Age: time.Duration(age) * time.Millisecond})
	}
	slices.SortFunc(words, func(x, y Word) int { return strings.Compare(x.Node, y.Node) })
	return words, nil
}
