package contactsync

// NamePattern is the one form of stream, account and contact ids. Nothing of that
// form can lead to another path, host or header. The API documents none; its ids
// are hexadecimal, and those of streams begin with st-.
const NamePattern = `^[A-Za-z0-9_-]{1,64}$`

// IsName reports whether text matches NamePattern.
func IsName[T string | []byte](text T) bool {
	if len(text) == 0 || len(text) > 64 {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
