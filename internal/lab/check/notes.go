package check

import "fmt"

// examples is how many violations of one kind are told; the others are counted.
const examples = 5

func (c *checker) say(format string, args ...any) {
	c.r.Violations = append(c.r.Violations, fmt.Sprintf(format, args...))
}

// fault counts a violation and tells the first few of its kind.
func (c *checker) fault(count *int, format string, args ...any) { c.note(count, 0, format, args...) }

// note counts what is a violation above a limit only.
func (c *checker) note(count *int, limit int, format string, args ...any) {
	*count++
	if *count <= limit {
		return
	}
	if c.told[count]++; c.told[count] <= examples {
		c.say(format, args...)
	}
}

// noteAll takes a count from elsewhere.
func (c *checker) noteAll(count *int, n, limit int, format string) {
	*count = n
	if n > limit {
		c.say(format, n)
	}
}
