package admin

import "net/http"

// AnswersPath lists what is kept of the API's own words; below it, each is to be had by its hash.
const AnswersPath = "/api/answers"

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
