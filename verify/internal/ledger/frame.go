package ledger

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A ledger file is the magic line followed by frames:
//
//	length   uint32, little-endian: size of the content in bytes
//	guard    uint32: CRC-32C of the length field
//	content  one record as JSON
//	chain    uint32: CRC-32C of the content, continued from the chain of the frame before
//
// A process that is killed while it appends leaves a prefix of its frame, and a prefix can be
// told from damage: whatever is complete must also be right. The chain makes a frame that was
// taken out or exchanged as visible as one that was altered.
const (
	magic        = "stateful-postgres ledger 1\n"
	headerSize   = 8
	chainSize    = 4
	maximumFrame = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DamagedError is a ledger that cannot be trusted from an offset on.
type DamagedError struct {
	Path   string
	Offset int64
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("ledger %s is damaged at offset %d: %s; restore it from a copy, or set it aside with "+
		"--new-ledger and take over the rows it knew with --adopt", e.Path, e.Offset, e.Reason)
}

func appendFrame(dst, content []byte, chain uint32) ([]byte, uint32) {
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(content)))
	dst = append(dst, length[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(length[:], castagnoli))
	dst = append(dst, content...)
	chain = crc32.Update(chain, castagnoli, content)
	return binary.LittleEndian.AppendUint32(dst, chain), chain
}

// nextFrame returns the content of the frame that data begins with and its size. A size of 0
// means that data is a prefix of a frame. The reason is not empty when the frame is damaged.
func nextFrame(data []byte, chain uint32) (content []byte, size int, next uint32, reason string) {
	if len(data) < headerSize {
		return nil, 0, chain, ""
	}
	length := binary.LittleEndian.Uint32(data)
	if crc32.Checksum(data[:4], castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, 0, chain, "the length of a record does not match its checksum"
	}
	if length > maximumFrame {
		return nil, 0, chain, fmt.Sprintf("a record of %d bytes, expected at most %d", length, maximumFrame)
	}
	size = headerSize + int(length) + chainSize
	if len(data) < size {
		return nil, 0, chain, ""
	}
	content = data[headerSize : headerSize+int(length)]
	next = crc32.Update(chain, castagnoli, content)
	if next != binary.LittleEndian.Uint32(data[size-chainSize:]) {
		return nil, 0, chain, "a record does not match its checksum"
	}
	return content, size, next, ""
}
