package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/packet"
)

const packetSweepEvery = time.Hour

// packetSettings say where large payloads are kept.
type packetSettings struct {
	place string // a folder, an s3:// address, or off
	bytes int64
	keep  time.Duration
}

// s3 reports whether the place is a storage and no folder.
func (p *packetSettings) s3() bool { return len(p.place) >= 5 && p.place[:5] == "s3://" }

// checkPackets refuses an address that can not be read, and settles the folder.
func (s *settings) checkPackets() error {
	switch {
	case s.packets.place == "":
		s.packets.place = filepath.Join(s.data, "packets")
	case s.packets.s3():
		if _, err := packet.NewS3(s.packets.place); err != nil {
			return usagef("-packets: %w", err)
		}
	}
	if s.packets.bytes < packet.MaxSize {
		return usagef("-packets-bytes: must be at least %d", int64(packet.MaxSize))
	}
	if s.packets.keep < 0 {
		return usagef("-packets-keep: must not be negative")
	}
	return nil
}

// openPackets opens where large payloads are kept. URLs of a folder are signed with
// the secret key, which all nodes have.
func (n *node) openPackets(ctx context.Context) error {
	switch {
	case n.set.packets.place == "off":
		return nil
	case n.set.packets.s3():
		s, err := packet.NewS3(n.set.packets.place)
		n.packets = s
		return err
	}
	key, err := n.set.secretKey()
	if err != nil {
		return err
	}
	n.disk, err = packet.OpenDisk(ctx, packet.DiskConfig{
		Dir: n.set.packets.place, Secret: []byte(key.Reveal()), Quota: n.set.packets.bytes, Keep: n.set.packets.keep,
	})
	if err != nil {
		return err
	}
	n.packets = n.disk
	return nil
}

var _ httpapi.Packets = (*packet.Disk)(nil)

// packetLoop removes what interrupted uploads left, and packets past their time.
func (n *node) packetLoop(ctx context.Context) {
	if n.disk == nil {
		return
	}
	every(ctx, packetSweepEvery, func() {
		removed, err := n.disk.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("the folder of the packets can not be swept", slog.Any("error", err))
		}
		if removed > 0 {
			n.log.Info("packets past their time were removed", slog.Int("packets", removed))
		}
	})
}
