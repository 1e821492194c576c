// Verify one log of an export with the checksum database's packages: main LOG-DIRECTORY VKEY. Exit 0: the checkpoint is
// signed, every entry is included in it, and every older checkpoint is a prefix of it. Anything else: 1, and why.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type directory string // its tiles lie as tlog-tiles says, without the height in their path

func (d directory) Height() int                         { return 8 }
func (d directory) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (d directory) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range tiles {
		data = append(data, d.read(strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
	}
	return data, nil
}

func (d directory) read(path string) []byte { return must(os.ReadFile(filepath.Join(string(d), path))) }

func (d directory) checkpoint(path string, verifier note.Verifier) tlog.Tree {
	lines := strings.Split(must(note.Open(d.read(path), note.VerifierList(verifier))).Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		log.Fatal("a checkpoint of another log")
	}
	return tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: must(tlog.ParseHash(lines[2]))}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: main LOG-DIRECTORY VKEY")
	}
	d, verifier := directory(os.Args[1]), must(note.NewVerifier(os.Args[2]))
	tree := d.checkpoint("checkpoint", verifier)
	hashes := tlog.TileHashReader(tree, d)
	var bundle []byte
	for seq := int64(0); seq < tree.N; seq++ {
		if seq%256 == 0 { // as many entries as the tile of leaves beside it has hashes
			tile := tlog.Tile{H: 8, N: seq / 256, W: int(min(256, tree.N-seq))}
			bundle = d.read(strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1))
		}
		if len(bundle) < 2 || len(bundle) < 2+int(bundle[0])<<8+int(bundle[1]) {
			log.Fatal("entry ", seq, " is missing")
		}
		end := 2 + int(bundle[0])<<8 + int(bundle[1])
		proof := must(tlog.ProveRecord(tree.N, seq, hashes))
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, seq, tlog.RecordHash(bundle[2:end])))
		bundle = bundle[end:]
	}
	older := must(filepath.Glob(filepath.Join(string(d), "checkpoints", "*")))
	for _, path := range older {
		old := d.checkpoint(filepath.Join("checkpoints", filepath.Base(path)), verifier)
		check(tlog.CheckTree(must(tlog.ProveTree(tree.N, old.N, hashes)), tree.N, tree.Hash, old.N, old.Hash))
	}
	fmt.Printf("holds: %s, entries %d, checkpoints %d\n", verifier.Name(), tree.N, len(older))
}

func check(err error) { must(0, err) }

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
