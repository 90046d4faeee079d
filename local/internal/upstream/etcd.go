package upstream

import (
	"fmt"
	"net/url"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/sys/unix"
)

// etcdReady is how long etcd may take to recover its write-ahead log.
const etcdReady = 60 * time.Second

// newEtcdCommand runs one etcd member for clients on the same machine.
func newEtcdCommand() *cobra.Command {
	var dataDir, client, peer string
	c := &cobra.Command{
		Use:   Etcd,
		Short: "One etcd member",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			config := embed.NewConfig()
			config.Dir = dataDir
			config.LogLevel = "warn"
			for _, set := range []struct {
				flag   string
				value  string
				listen *[]url.URL
				tell   *[]url.URL
			}{
				{"listen-client-url", client, &config.ListenClientUrls, &config.AdvertiseClientUrls},
				{"listen-peer-url", peer, &config.ListenPeerUrls, &config.AdvertisePeerUrls},
			} {
				parsed, err := url.Parse(set.value)
				if err != nil {
					return fmt.Errorf("--%s: %w", set.flag, err)
				}
				*set.listen, *set.tell = []url.URL{*parsed}, []url.URL{*parsed}
			}
			config.InitialCluster = config.InitialClusterFromName(config.Name)
			// The apiserver asks for compaction every five minutes; this
			// bounds the history when it does not come to that.
			config.AutoCompactionMode, config.AutoCompactionRetention = "periodic", "1h"
			server, err := embed.StartEtcd(config)
			if err != nil {
				return err
			}
			defer server.Close()
			select {
			case <-server.Server.ReadyNotify():
			case err := <-server.Err():
				return err
			case <-time.After(etcdReady):
				return fmt.Errorf("etcd not ready after %s", etcdReady)
			case <-ctx.Done():
				return nil
			}
			select {
			case err := <-server.Err():
				return err
			case <-ctx.Done():
				return nil
			}
		},
	}
	c.Flags().StringVar(&dataDir, "data-dir", "", "folder of the member's data")
	c.Flags().StringVar(&client, "listen-client-url", "http://127.0.0.1:2379", "where clients connect")
	c.Flags().StringVar(&peer, "listen-peer-url", "http://127.0.0.1:2380", "where other members would connect")
	_ = c.MarkFlagRequired("data-dir")
	return c
}
