// Command mutants plants small bugs in the service, one at a time, and shows
// which tests notice. A bug that no test notices is a rule that no test holds.
//
// The bugs are in the *.txt files beside it. Each replaces one piece of text,
// which must occur exactly once in its file, by another one; the source itself is
// never touched, because go test takes the changed file as an overlay. Run it in
// the root of the module:
//
//	go run ./tools/mutants                      all of them
//	go run ./tools/mutants -match batcher/      those whose file or description matches
//	go run ./tools/mutants -sample 10 -seed 3   a tenth, drawn by the seed
//
// It exits with 1 where a bug survives that is not marked as equivalent, or where
// one does not compile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	match := flags.String("match", "", "only bugs whose file or description matches this regular expression")
	sample := flags.Int("sample", 1, "only one in this many, drawn by the seed")
	seed := flags.Uint64("seed", 1, "for -sample")
	jobs := flags.Int("jobs", runtime.NumCPU(), "how many to test at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*match)
	if err != nil {
		return fmt.Errorf("-match: %w", err)
	}
	if *sample < 1 || *jobs < 1 {
		return errors.New("-sample and -jobs must be at least 1")
	}
	all, err := load("tools/mutants", ".")
	if err != nil {
		return err
	}
	draw := rand.New(rand.NewPCG(*seed, *seed))
	var chosen []mutant
	for _, m := range all {
		if draw.IntN(*sample) == 0 && wanted.MatchString(m.file+" "+m.name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return errors.New("no bug is selected")
	}
	results := make([]result, len(chosen))
	var wait sync.WaitGroup
	next := make(chan int)
	for range *jobs {
		wait.Go(func() {
			for i := range next {
				results[i] = chosen[i].test(ctx)
				fmt.Fprintf(os.Stderr, "%-12s %s: %s\n", results[i].verdict(), chosen[i].file, chosen[i].name)
			}
		})
	}
	for i := range chosen {
		next <- i
	}
	close(next)
	wait.Wait()
	return report(out, chosen, results)
}

// report prints one line for each bug and one for each package, and returns an
// error where a bug survived.
func report(out io.Writer, mutants []mutant, results []result) error {
	type sum struct{ planted, units, simulation, equivalent, survived int }
	sums := map[string]*sum{}
	var packages []string
	bad := 0
	fmt.Fprintln(out, "| file | planted bug | tests | simulation |\n| --- | --- | --- | --- |")
	for i, m := range mutants {
		r := results[i]
		simulation := r.simulation
		if r.worlds != "" {
			simulation += " after " + r.worlds + " worlds"
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", m.file, m.name, r.units, simulation)
		dir := m.dir()
		s := sums[dir]
		if s == nil {
			s = &sum{}
			sums[dir] = s
			packages = append(packages, dir)
		}
		s.planted++
		if r.units == found {
			s.units++
		}
		if r.simulation == found {
			s.simulation++
		}
		switch r.verdict() {
		case "found":
		case "equivalent":
			s.equivalent++
			fmt.Fprintf(out, "|  | equivalent: %s |  |  |\n", m.equivalent)
		default:
			s.survived++
			bad++
			fmt.Fprintf(out, "|  | %s: %s |  |  |\n", strings.ToUpper(r.verdict()), r.detail)
		}
	}
	fmt.Fprintln(out)
	total := sum{}
	for _, dir := range packages {
		s := sums[dir]
		fmt.Fprintf(out, "%-24s planted %3d   found by tests %3d   by the simulation alone %3d   equivalent %2d   survived %2d\n",
			dir, s.planted, s.units, s.simulation, s.equivalent, s.survived)
		total.planted += s.planted
		total.equivalent += s.equivalent
	}
	fmt.Fprintf(out, "%d planted, %d survived, %d argued to be equivalent\n", total.planted, bad, total.equivalent)
	if bad > 0 {
		return fmt.Errorf("%d planted bugs were not found", bad)
	}
	return nil
}
