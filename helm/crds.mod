// Where make chart takes the definitions of the Prometheus operator's resources from. Nothing is built from it.
module github.com/contactsync/contactsync/helm/crds

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
