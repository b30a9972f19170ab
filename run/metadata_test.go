package run_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

func operated(t *testing.T, document string, ops ...run.MetadataOperation) string {
	t.Helper()
	got, err := (&run.MetadataChange{Operations: ops}).Result(run.Metadata{Bytes: []byte(document), Type: "application/json"})
	if err != nil {
		t.Fatal(err)
	}
	return string(got.Bytes)
}

func op(kind run.MetadataOp, key, value string) run.MetadataOperation {
	return run.MetadataOperation{Type: kind, Key: key, Value: []byte(value)}
}

func TestMetadataOperations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		document, want string
		op             run.MetadataOperation
	}{
		{`{"a":1}`, `{"a":1,"b":{"c":[]}}`, op(run.OpSet, "b", `{"c":[]}`)},
		{`{"a":1,"b":2}`, `{"a":null,"b":2}`, op(run.OpSet, "a", `null`)},
		{``, `{"a":1}`, op(run.OpSet, "a", `1`)},
		{`{}`, `{"":1}`, op(run.OpSet, "", `1`)},
		{`{}`, `{"a.b":1}`, op(run.OpSet, "a.b", `1`)},
		{`{}`, `{"a":{"b":{"c":1}}}`, op(run.OpSet, "$.a.b.c", `1`)},
		{`{}`, `{"a.b":1}`, op(run.OpSet, `$.a\.b`, `1`)},
		{`{"a":[1,2]}`, `{"a":[1,3]}`, op(run.OpSet, `$.a.1`, `3`)},
		{`{"a":[1,2]}`, `{"a":[1,2,3]}`, op(run.OpSet, `$.a[2]`, `3`)},
		{`{"a":[1,2]}`, `{"a":[1,2]}`, op(run.OpSet, `$.a[3]`, `3`)},
		{`{"a":[1,{"b":[[5]]}]}`, `{"a":[1,{"b":[[6]]}]}`, op(run.OpSet, `$.a[1].b[0][0]`, `6`)},
		{`{"a":7}`, `{"a":7}`, op(run.OpSet, `$.a.b`, `3`)},
		{`{"\u0061":7}`, `{"\u0061":8}`, op(run.OpSet, `a`, `8`)},
		{`{"a":1,"b":0,"a":2}`, `{"a":3,"b":0}`, op(run.OpIncrement, `a`, `1`)},

		{`{}`, `{"a":["x"]}`, op(run.OpAppend, "a", `"x"`)},
		{`{"a":[]}`, `{"a":["x"]}`, op(run.OpAppend, "a", `"x"`)},
		{`{"a":{"b":[1]}}`, `{"a":{"b":[1,2]}}`, op(run.OpAppend, "$.a.b", `2`)},
		{`{"a":5}`, `{"a":5}`, op(run.OpAppend, "a", `2`)},
		{`{"a":{"b":5}}`, `{"a":{"b":[5,2]}}`, op(run.OpAppend, "$.a.b", `2`)},

		{`{"a":[1,10,"10",1e1,1.0,1]}`, `{"a":[10,"10",1e1]}`, op(run.OpRemove, "a", `1`)},
		{`{"a":[1,10,"10",1e1]}`, `{"a":[1,"10"]}`, op(run.OpRemove, "a", `100e-1`)},
		{`{"a":[9007199254740993,9007199254740992]}`, `{"a":[9007199254740992]}`, op(run.OpRemove, "a", `9007199254740993`)},
		{`{"a":[{"x":1,"y":[2]},{"y":[2]}]}`, `{"a":[{"y":[2]}]}`, op(run.OpRemove, "a", ` {"y" : [2.0], "x":1}`)},
		{`{"a":["\u00e9"]}`, `{"a":[]}`, op(run.OpRemove, "a", `"é"`)},
		{`{"a":5}`, `{"a":5}`, op(run.OpRemove, "a", `5`)},
		{`{"a":[-0,0.0,false,null]}`, `{"a":[false,null]}`, op(run.OpRemove, "a", `0`)},

		{`{}`, `{"n":2}`, op(run.OpIncrement, "n", `2`)},
		{`{"n":"x"}`, `{"n":2}`, op(run.OpIncrement, "n", `2`)},
		{`{"n":9007199254740993}`, `{"n":9007199254740995}`, op(run.OpIncrement, "n", `2`)},
		{`{"n":0.1}`, `{"n":0.30000000000000004}`, op(run.OpIncrement, "n", `0.2`)},
		{`{"n":9223372036854775807}`, `{"n":9223372036854776000}`, op(run.OpIncrement, "n", `1`)},
		{`{"n":1.7e308}`, `{"n":1.7e308}`, op(run.OpIncrement, "n", `1.7e308`)},
		{`{"a":{"n":5}}`, `{"a":{"n":3.5}}`, op(run.OpIncrement, "$.a.n", `-1.5`)},

		{`{"a":1,"b":2,"c":3}`, `{"b":2,"c":3}`, op(run.OpDelete, "a", ``)},
		{`{"b":2}`, `{"b":2}`, op(run.OpDelete, "a", ``)},
		{`{"a":{"b":1,"c":2}}`, `{"a":{"c":2}}`, op(run.OpDelete, "$.a.b", ``)},
		{`{"a":1}`, `{"b": [2]}`, op(run.OpUpdate, "", ` {"b": [2]} `)},
	} {
		if got := operated(t, c.document, c.op); got != c.want {
			t.Errorf("%s %q of %s: %s, want %s", c.op.Type, c.op.Key, c.document, got, c.want)
		}
	}
}

func TestMetadataOperationsInARow(t *testing.T) {
	t.Parallel()
	got := operated(t, `{"a":1,"b":2,"c":3}`,
		op(run.OpDelete, "a", ""), op(run.OpSet, "c", `{"d":1}`), op(run.OpSet, "a", `[1]`),
		op(run.OpAppend, "a", `{"x":1}`), op(run.OpIncrement, "$.a[1].x", `1`), op(run.OpRemove, "a", `1`),
		op(run.OpIncrement, "$.c.d", `1`), op(run.OpRemove, "a", `{"x":3}`))
	if want := `{"b":2,"c":{"d":2},"a":[{"x":2}]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	got = operated(t, `{"a":1}`, op(run.OpUpdate, "", `{"b":1}`), op(run.OpIncrement, "b", `1`))
	if got != `{"b":2}` {
		t.Error(got)
	}
}

// What is not touched comes back byte for byte.
func TestMetadataKeepsWhatItDoesNotTouch(t *testing.T) {
	t.Parallel()
	const big = `{ "n" : 12345678901234567890.12345678901234567890e-5, "s":"\u00e9\/\ud83d\ude42 🙂", "e":[ ], "o":{ }, "deep":[[[[null]]]],"dup":{"a":1,"a":2} }`
	if got := operated(t, big, op(run.OpDelete, "nothing", "")); got != big {
		t.Errorf("nothing changed, and %s came back", got)
	}
	got := operated(t, `{"keep":`+big+`, "x":1}`, op(run.OpSet, "x", "2"))
	if got != `{"keep":`+big+`,"x":2}` {
		t.Error(got)
	}
	got = operated(t, "{\"bad\":\"\xff\",\"x\":1}", op(run.OpSet, "x", "2"))
	if got != "{\"bad\":\"\xff\",\"x\":2}" {
		t.Errorf("%q", got)
	}
}

func TestMetadataChangesThatAreRefused(t *testing.T) {
	t.Parallel()
	json := func(s string) run.Metadata { return run.Metadata{Bytes: []byte(s), Type: "application/json"} }
	many := make([]run.MetadataOperation, run.MaxOperations+1)
	for i := range many {
		many[i] = op(run.OpSet, "a", "1")
	}
	long := `"` + strings.Repeat("x", run.MaxMetadata) + `"`
	for name, c := range map[string]struct {
		current run.Metadata
		ops     []run.MetadataOperation
		fault   run.Fault
	}{
		"no JSON":        {json(`{`), many[:1], run.Unprocessable},
		"two documents":  {json(`{}{}`), many[:1], run.Unprocessable},
		"a list":         {json(`[]`), many[:1], run.Unprocessable},
		"another type":   {run.Metadata{Bytes: []byte(`{}`), Type: "text/plain"}, many[:1], run.Unprocessable},
		"too many":       {json(`{}`), many, run.TooLarge},
		"too long":       {json(`{}`), []run.MetadataOperation{op(run.OpSet, "a", long)}, run.TooLarge},
		"no type":        {json(`{}`), []run.MetadataOperation{op("", "a", "1")}, run.Malformed},
		"no value":       {json(`{}`), []run.MetadataOperation{op(run.OpSet, "a", "")}, run.Malformed},
		"bad value":      {json(`{}`), []run.MetadataOperation{op(run.OpSet, "a", "\"\xff\"")}, run.Malformed},
		"two values":     {json(`{}`), []run.MetadataOperation{op(run.OpSet, "a", "1 2")}, run.Malformed},
		"by a text":      {json(`{}`), []run.MetadataOperation{op(run.OpIncrement, "a", `"1"`)}, run.Malformed},
		"update to list": {json(`{}`), []run.MetadataOperation{op(run.OpUpdate, "", `[]`)}, run.Malformed},
		"wildcard":       {json(`{}`), []run.MetadataOperation{op(run.OpSet, "$.a.*", `1`)}, run.Malformed},
		"empty step":     {json(`{}`), []run.MetadataOperation{op(run.OpSet, "$.a..b", `1`)}, run.Malformed},
		"empty path":     {json(`{}`), []run.MetadataOperation{op(run.OpSet, "$.", `1`)}, run.Malformed},
		"open bracket":   {json(`{}`), []run.MetadataOperation{op(run.OpSet, "$.a[1", `1`)}, run.Malformed},
		"bad bracket":    {json(`{}`), []run.MetadataOperation{op(run.OpSet, "$.a[x]", `1`)}, run.Malformed},
		"long path":      {json(`{}`), []run.MetadataOperation{op(run.OpSet, "$."+strings.Repeat("a.", 200)+"a", `1`)}, run.Malformed},
	} {
		got, err := (&run.MetadataChange{Operations: c.ops}).Result(c.current)
		if err == nil {
			t.Errorf("%s: became %s", name, got.Bytes)
			continue
		}
		t.Run(name, func(t *testing.T) { wantInvalid(t, err, c.fault) })
	}
	// Case 34: the cap holds for a replacement, too.
	_, err := (&run.MetadataChange{Replace: &run.Metadata{Bytes: make([]byte, run.MaxMetadata+1)}}).Result(run.Metadata{})
	wantInvalid(t, err, run.TooLarge)
}

// Case 91: operations win over a replacement, also when there are none of them.
func TestMetadataReplacement(t *testing.T) {
	t.Parallel()
	whole := &run.Metadata{Bytes: []byte(" {\"b\": 1.0}\x00")}
	got, err := (&run.MetadataChange{Replace: whole}).Result(run.Metadata{Bytes: []byte(`{"a":1}`)})
	if err != nil || !bytes.Equal(got.Bytes, whole.Bytes) || got.Type != run.DefaultPayloadType {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = (&run.MetadataChange{Replace: whole, Operations: []run.MetadataOperation{}}).Result(run.Metadata{Bytes: []byte(`{"a":1}`)})
	if err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := (&run.MetadataChange{}).Result(run.Metadata{}); err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzMetadataOperations(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":2}],"c":9007199254740993}`), "set", "$.a[1].b", []byte(`{"x":[]}`), "remove", "a", []byte(`1e0`))
	f.Add([]byte(`{"a":{"a":1,"a":2}}`), "increment", "$.a.a", []byte(`1.5`), "delete", "$.a", []byte(``))
	f.Add([]byte(` {} `), "append", `$.\.[0]`, []byte(`"\ud83d"`), "update", "", []byte(`{}`))
	f.Fuzz(func(t *testing.T, document []byte, type1, key1 string, value1 []byte, type2, key2 string, value2 []byte) {
		const kept = `{"n": 1.00000000000000000001e5,"s":"\u00E9"}`
		if len(document) == 0 || document[0] != '{' || !jsontext.Value(document).IsValid() {
			document = []byte(`{}`)
		}
		inside := bytes.TrimSpace(document[1 : len(bytes.TrimSpace(document))-1])
		text := []byte(`{"\u0000kept":` + kept)
		if len(inside) > 0 {
			text = append(append(text, ','), inside...)
		}
		text = append(text, '}')
		change := run.MetadataChange{Operations: []run.MetadataOperation{
			{Type: run.MetadataOp(type1), Key: key1, Value: value1}, {Type: run.MetadataOp(type2), Key: key2, Value: value2},
		}}
		got, err := change.Result(run.Metadata{Bytes: text})
		if err != nil {
			return
		}
		if !jsontext.Value(got.Bytes).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) || len(got.Bytes) > run.MaxMetadata {
			t.Fatalf("%q", got.Bytes)
		}
		touched := type1 == string(run.OpUpdate) || type2 == string(run.OpUpdate) || strings.Contains(key1+key2, "\x00") ||
			strings.Contains(string(document), `\u0000kept`)
		if !touched && !bytes.Contains(got.Bytes, []byte(kept)) {
			t.Fatalf("%s %s, %s %s: %q lost what nobody touched", type1, key1, type2, key2, got.Bytes)
		}
	})
}
