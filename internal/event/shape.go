package event

import (
	"hash/maphash"
	"math/bits"
)

// seed makes shapes unpredictable, so that nobody can construct two contacts that
// differ in their members and have one shape. It is one for the process because
// Merge and every Decoder must agree.
var seed = maphash.MakeSeed()

// root is the path of the contact object itself.
const root uint64 = 0

// pathHash returns the hash of the member called name, unescaped, of the object
// at path. A shape is the sum of the hashes of all members, so order does not
// count, while the mixing makes a/b and b/a differ.
func pathHash(path uint64, name []byte) uint64 {
	hi, lo := bits.Mul64(path^0x9e3779b97f4a7c15, maphash.Bytes(seed, name))
	return hi ^ lo
}
