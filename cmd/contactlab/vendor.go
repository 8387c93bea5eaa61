package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

type vendorOptions struct {
	listen   string
	account  vendorapi.Account
	app      vendorapi.App
	requests int
	variant  string
}

func vendorCommand() *cobra.Command {
	o := vendorOptions{app: vendorapi.App{ClientID: stub.LabAppID, Secret: stub.LabSecret}}
	cmd := &cobra.Command{
		Use:   "vendor",
		Short: "Run a second model of the API, made from the vendor's page alone",
		Long: `Vendor is a model of the bulk-update API that shares nothing with the stub or with
the service. It checks tokens, headers and bodies as the vendor's page has them and
keeps contacts. What the page leaves open is a variant. Contacts exist as soon as
they are named, except those whose id begins with "bad". It keeps its log in memory,
and when it is interrupted it prints what the client did wrong.

Variants:
` + variantList(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runVendor(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.StringVar(&o.listen, "listen", "127.0.0.1:8099", "address to listen on")
	fl.StringVar(&o.account.ID, "account", "lab", "account that exists")
	fl.StringSliceVar(&o.account.Streams, "streams", nil, "its streams; none: every one whose name begins with st-")
	fl.StringVar(&o.app.ClientID, "app-id", o.app.ClientID, "appId that tokens must have")
	fl.StringVar(&o.app.Secret, "secret", o.app.Secret, "secret that tokens must be signed with")
	fl.IntVar(&o.requests, "requests", 60, "requests that the account may make in a minute (0: any number)")
	fl.StringVar(&o.variant, "variant", "page", "variant, see above")
	return cmd
}

func variantList() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, v := range vendorapi.Variants() {
		fmt.Fprintf(w, "  %s\t%s\n", v.Name, v.Question)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func runVendor(ctx context.Context, o vendorOptions, out io.Writer) error {
	variant, known := vendorapi.Find(o.variant)
	if !known {
		return fmt.Errorf("%w: there is no variant %q", errUsage, o.variant)
	}
	o.account.Apps = []vendorapi.App{o.app}
	cfg := vendorapi.Config{
		Accounts: []vendorapi.Account{o.account},
		Known:    func(_, id string) bool { return !strings.HasPrefix(id, "bad") },
	}
	variant.Set(&cfg)
	cfg.Budget.Requests, cfg.Budget.Window = o.requests, 0
	v, err := harness.StartVendor(o.listen, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the vendor's API at %s, variant %s: %s\n", v.URL(), variant.Name, variant.Question)
	<-ctx.Done()
	err = v.Close()
	printStats(out, v.Stats())
	complaints := v.Log().Complaints
	fmt.Fprintf(out, "complaints            %d\n", len(complaints))
	const most = 20
	for _, c := range complaints[:min(len(complaints), most)] {
		fmt.Fprintln(out, c)
	}
	return err
}
