package admin

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
)

// ExplainPath says what is known of a contact; its parameters stream and contact name it.
const ExplainPath = "/api/explain"

// explainTimeout bounds one answer.
const explainTimeout = 5 * time.Second

// explain answers what is known of a contact. Each question takes the service's one loop for a
// moment, so there is one at a time, however many ask.
func explain(known func(ctx context.Context, stream, contact string) (any, error)) http.HandlerFunc {
	var asking sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		stream, contact := r.FormValue("stream"), r.FormValue("contact")
		if !contactsync.IsName(stream) || !contactsync.IsName(contact) {
			http.Error(w, "stream and contact must be there, and match "+contactsync.NamePattern, http.StatusBadRequest)
			return
		}
		if !asking.TryLock() {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "another question is being answered: ask again", http.StatusServiceUnavailable)
			return
		}
		defer asking.Unlock()
		ctx, cancel := context.WithTimeout(r.Context(), explainTimeout)
		defer cancel()
		answer, err := known(ctx, stream, contact)
		if err != nil {
			http.Error(w, "the service does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, answer)
	}
}
