// Package proof shows, with the whole service in one process, what the service
// promises about the API and about bad input: every answer of the table in
// docs/answers.md, every variant of what the vendor's page leaves open, poison
// beside healthy traffic, each single fault beside it, what one bad thing must not
// do, an hour without the API, scaled down, each kind of outage, and limits of
// requests that it has to find. Its tests need the build tag proof and print what they measure; make answers,
// poison, beside, outage and limits run them. With -short they are smaller, for the
// race detector. For each there is a test with a planted bug that it must find.
package proof
