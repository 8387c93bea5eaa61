package admin

import (
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// AnswersPath lists what is kept of the API's own words; below it, each is to be had by its hash.
const AnswersPath = "/api/answers"

// privately answers whom the API's words may be shown to: they name people. That is the machine
// itself, and whoever the web configuration has let in by name or by certificate.
func (c Config) privately(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !ownMachine(r) && !c.authenticated(r) {
			http.Error(w, "what the API wrote is shown to the replica's own machine, and to users of admin.web_config_file: run the command in the replica's pod, forward its port, or name a user", http.StatusForbidden)
			return
		}
		h(w, r)
	})
}

// authenticated reports whether somebody vouches for whoever asks. The library has let the
// request pass, so the password is right where there are users, and a certificate is one that it verified.
func (c Config) authenticated(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	file, err := c.webConfig()
	_, _, named := r.BasicAuth()
	return err == nil && named && len(file.Users) > 0
}

func answers(list func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, list()) }
}

func answer(find func(hash string) (any, bool)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, ok := find(r.PathValue("hash"))
		if !ok {
			http.Error(w, "no text with this hash is kept: another replica may have it, the last ones only are kept, and none outlives its process; the text of a dead letter is in the letter (contactsync dlq show --answer)",
				http.StatusNotFound)
			return
		}
		writeJSON(w, found)
	}
}

// writeJSON answers with JSON, indented for a reader.
func writeJSON(w http.ResponseWriter, content any) {
	text, err := json.Marshal(content, jsontext.WithIndent("  "))
	if err != nil {
		http.Error(w, "write the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // an error means that the client has gone
}
