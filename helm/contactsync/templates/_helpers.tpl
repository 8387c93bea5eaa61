{{- define "contactsync.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "contactsync.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "contactsync.labels" -}}
{{ include "contactsync.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "contactsync.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "contactsync.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "contactsync.adminPort" -}}
{{- dig "admin" "listen" ":8080" .Values.config | trimPrefix ":" -}}
{{- end -}}

{{- define "contactsync.probePort" -}}
{{- dig "admin" "probe_listen" ":8081" .Values.config | trimPrefix ":" -}}
{{- end -}}

{{- /* Refuses a grace period that would cut the shutdown short: shutdown.timeout, 30s by default, and 5s to exit. */ -}}
{{- define "contactsync.checkGracePeriod" -}}
{{- $timeout := dig "shutdown" "timeout" "30s" .Values.config | toString -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 -}}
{{- $stop := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|h|m|s)" $timeout -1 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $stop = addf $stop (mulf (float64 $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- if lt (float64 .Values.terminationGracePeriodSeconds) (addf $stop 5.0) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v: make it at least 5 s longer than config.shutdown.timeout (%s), or shutdowns are cut short" .Values.terminationGracePeriodSeconds $timeout) -}}
{{- end -}}
{{- end -}}

{{- /* The metadata of a monitor: the chart, and the values of the monitor. */ -}}
{{- define "contactsync.monitorMetadata" -}}
{{- $monitor := index . 1 -}}
{{- with index . 0 -}}
name: {{ include "contactsync.fullname" . }}
{{- with $monitor.namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "contactsync.labels" . | nindent 2 }}
  {{- with $monitor.labels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "contactsync.endpoint" -}}
port: admin
path: /metrics
scheme: {{ .scheme }}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- range $name := list "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" }}
{{- with index $ $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The part of the memory limit that Go may use, in bytes; empty without a limit. */ -}}
{{- define "contactsync.goMemoryLimit" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if kindIs "float64" $limit -}}{{- $limit = printf "%.0f" $limit -}}{{- end -}}
{{- $limit = toString $limit -}}
{{- if and $limit .Values.goMemoryLimitRatio -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" $limit -}}
{{- $unit := trimPrefix $number $limit -}}
{{- if or (not $number) (not (hasKey $units $unit)) -}}
{{- fail (printf "resources.limits.memory is %q: write it as in 768Mi or 1G, or set goMemoryLimitRatio to 0" $limit) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) .Values.goMemoryLimitRatio | floor | int64 -}}
{{- end -}}
{{- end -}}
