package upstream_test

import (
	"fmt"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/upstream"
)

// The table is code, test and document at once: docs/answers.md is generated from it.
func ExampleTable() {
	for _, rule := range upstream.Table() {
		if rule.Kind == contactsync.TooLarge || rule.Kind == contactsync.Answered {
			fmt.Printf("%s: %v, %s\n", rule.Condition, rule.Kind, rule.Why)
		}
	}
	// Output:
	// 200, 207 with an answer to a bulk update: answered, the vendor documents 200; others answer 207 if rows differ
	// 400, 404, 409, 412, 422 with an answer that lists failed rows, beside applied ones or all of them: answered, the vendor documents no status for a request of which rows failed, and what names them is about them
	// 413: too_large, the vendor documents no limit, so it is learned
}

// The most specific pattern wins, and an event that names an account goes nowhere else.
func ExampleRouter_Route() {
	router := upstream.NewRouter([]upstream.Account{
		{ID: "default", Streams: []string{"*"}},
		{ID: "europe", Streams: []string{"st-eu-*"}},
	})
	fmt.Println(router.Route("st-eu-7", ""))
	fmt.Println(router.Route("st-us-7", ""))
	fmt.Println(router.Route("st-us-7", "europe"))
	// Output:
	// europe true
	// default true
	//  false
}
