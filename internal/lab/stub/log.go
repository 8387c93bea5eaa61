package stub

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
)

// Call is one call as the stub saw it. Rows applied after their call was
// answered make a second Call, with Late set and Received equal to Done.
type Call struct {
	Received int64  `json:"recv"`            // ns since the stub started, monotonic
	Done     int64  `json:"done"`            // ns, just before the end of the answer was written
	Order    int64  `json:"order,omitzero"`  // numbers the calls as their rows were applied; 0 = nothing applied
	Status   int    `json:"status,omitzero"` // 0 = no answer
	Late     bool   `json:"late,omitzero"`   // applied after the client had gone or had been answered
	Stream   string `json:"stream"`
	Account  string `json:"account"`
	From     string `json:"from"`          // address of the client's end
	Agent    string `json:"agent"`         // its User-Agent
	Rule     string `json:"rule,omitzero"` // the scenario's rule that answered
	Rows     []Row  `json:"rows"`
}

// Row is one contact of a call.
type Row struct {
	ID      string `json:"id"`
	Seq     int64  `json:"seq"` // -1 where the row has none
	Applied bool   `json:"ok,omitzero"`
}

// journal keeps calls in memory, up to a number of rows, and writes each as a
// line of JSON.
type journal struct {
	keep int
	out  io.Writer
	mu   sync.Mutex

	calls   []Call
	rows    int
	dropped int64
	line    []byte
	err     error // of out; the first one ends the writing
}

func (j *journal) add(c Call, rows []row) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.out != nil && j.err == nil {
		j.line = appendCall(j.line[:0], &c, rows)
		_, j.err = j.out.Write(j.line)
	}
	if j.rows+len(rows) > j.keep {
		j.dropped++
		return
	}
	j.rows += len(rows)
	c.Rows = make([]Row, len(rows))
	for i := range rows {
		c.Rows[i] = Row{Seq: rows[i].seq, Applied: rows[i].applied}
		if rows[i].contact != nil {
			c.Rows[i].ID = rows[i].contact.id
		}
	}
	j.calls = append(j.calls, c)
}

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls, j.rows, j.dropped = nil, 0, 0
}

func appendCall(b []byte, c *Call, rows []row) []byte {
	b = append(b, `{"recv":`...)
	b = strconv.AppendInt(b, c.Received, 10)
	b = append(b, `,"done":`...)
	b = strconv.AppendInt(b, c.Done, 10)
	b = append(b, `,"order":`...)
	b = strconv.AppendInt(b, c.Order, 10)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(c.Status), 10)
	b = append(b, `,"late":`...)
	b = strconv.AppendBool(b, c.Late)
	for _, m := range [...]struct{ name, text string }{
		{`,"stream":`, c.Stream}, {`,"account":`, c.Account}, {`,"from":`, c.From}, {`,"agent":`, c.Agent}, {`,"rule":`, c.Rule},
	} {
		b = append(b, m.name...)
		b = appendText(b, m.text)
	}
	b = append(b, `,"rows":[`...)
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`...)
		b = appendText(b, rows[i].id)
		b = append(b, `,"seq":`...)
		b = strconv.AppendInt(b, rows[i].seq, 10)
		if rows[i].applied {
			b = append(b, `,"ok":true`...)
		}
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

// appendText quotes a text. Ids and streams are plain as a rule, so the costly
// way is for the others only.
func appendText[T string | []byte](b []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(string(text))
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

// ReadLog reads what a stub wrote to Config.Log. An incomplete last line, as a
// killed stub leaves it, is ignored.
func ReadLog(r io.Reader) ([]Call, error) {
	var calls []Call
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return calls, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the log of calls: %w", err)
		}
		var c Call
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("read the log of calls: line %d: %w", n, err)
		}
		calls = append(calls, c)
	}
}
