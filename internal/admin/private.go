package admin

import (
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// privately answers whom the API's words, which name people, and what is known of single contacts
// may be shown to. That is the machine itself, and whoever the web configuration has let in by
// name or by certificate.
func (c Config) privately(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !ownMachine(r) && !c.authenticated(r) {
			http.Error(w, "what the API wrote and what is known of a contact is shown to the replica's own machine, and to users of admin.web_config_file: run the command in the replica's pod, forward its port, or name a user", http.StatusForbidden)
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
