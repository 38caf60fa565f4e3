{{- define "kubernetes-oom-event-generator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of every object: the release's name alone if it contains the chart's. A release's name may have dots, a Service's may not. */}}
{{- define "kubernetes-oom-event-generator.fullname" -}}
{{- $name := include "kubernetes-oom-event-generator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels of every Pod of this release, also that of `helm test`. */}}
{{- define "kubernetes-oom-event-generator.releaseLabels" -}}
app.kubernetes.io/name: {{ include "kubernetes-oom-event-generator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The labels that only the Deployment's Pod has. */}}
{{- define "kubernetes-oom-event-generator.selectorLabels" -}}
{{ include "kubernetes-oom-event-generator.releaseLabels" . }}
app.kubernetes.io/component: generator
{{- end }}

{{/* The labels of an object, each once. Takes a list: the root, the component and the object's own labels, which win. */}}
{{- define "kubernetes-oom-event-generator.labelsOf" -}}
{{- $root := index . 0 }}
{{- $labels := include "kubernetes-oom-event-generator.releaseLabels" $root | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/component" (index . 1) }}
{{- $_ = set $labels "app.kubernetes.io/version" $root.Chart.AppVersion }}
{{- $_ = set $labels "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $_ = set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge dict (default dict (index . 2)) (default dict $root.Values.commonLabels) $labels | toYaml }}
{{- end }}

{{- define "kubernetes-oom-event-generator.labels" -}}
{{- include "kubernetes-oom-event-generator.labelsOf" (tuple . "generator" dict) }}
{{- end }}

{{/* The labels of the objects of `helm test`. */}}
{{- define "kubernetes-oom-event-generator.testLabels" -}}
{{- include "kubernetes-oom-event-generator.labelsOf" (tuple . "test" dict) }}
{{- end }}

{{- define "kubernetes-oom-event-generator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "kubernetes-oom-event-generator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "kubernetes-oom-event-generator.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The sinks: those of the configuration, and of `presets`, whose keys the configuration's go before. Takes a list: the root,
and a dict that gets them as `sinks`. (A template returns only text, and numbers don't survive that.)
*/}}
{{- define "kubernetes-oom-event-generator.sinks" -}}
{{- $root := index . 0 }}
{{- $sinks := deepCopy (default dict ($root.Values.config).sinks) }}
{{- if not $sinks }}
{{- $_ := set $sinks "events" (dict "type" "kubernetes") }}
{{- end }}
{{- range $name := $root.Values.presets }}
{{- $preset := $root.Files.Get (printf "files/webhook/%s.yaml" $name) | fromYaml }}
{{- $_ := set $sinks $name (merge (default dict (get $sinks $name)) (get $preset.sinks $name)) }}
{{- end }}
{{- $_ := set (index . 1) "sinks" $sinks }}
{{- end }}

{{/* The name of the Lease by which several replicas choose the one that delivers. Empty: there is one replica, and no Lease. */}}
{{- define "kubernetes-oom-event-generator.lease" -}}
{{- $lease := default "" ((.Values.config).leader_election).lease }}
{{- if $lease }}
{{- $lease }}
{{- else if gt (int .Values.replicas) 1 }}
{{- include "kubernetes-oom-event-generator.fullname" . }}
{{- end }}
{{- end }}

{{/* The configuration file. */}}
{{- define "kubernetes-oom-event-generator.config" -}}
{{- $config := deepCopy (default dict .Values.config) }}
{{- if .Values.presets }}
{{- include "kubernetes-oom-event-generator.sinks" (tuple . $config) }}
{{- end }}
{{- with include "kubernetes-oom-event-generator.lease" . }}
{{- $_ := set $config "leader_election" (dict "lease" .) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* The port that the program listens on. Empty if `server` is null. */}}
{{- define "kubernetes-oom-event-generator.port" -}}
{{- $config := default dict .Values.config }}
{{- if not (and (hasKey $config "server") (kindIs "invalid" $config.server)) }}
{{- default "[::]:10254" ($config.server).listen | regexFind "[0-9]+$" }}
{{- end }}
{{- end }}

{{/* Whether a sink writes Kubernetes Events: not empty if so. Without `sinks`, the default sink does. */}}
{{- define "kubernetes-oom-event-generator.writesEvents" -}}
{{- $all := dict }}
{{- include "kubernetes-oom-event-generator.sinks" (tuple . $all) }}
{{- range $all.sinks }}
{{- if eq .type "kubernetes" }}true{{ end }}
{{- end }}
{{- end }}

{{/* Whether the Events say what is owed to other sinks: not empty if a sink writes Events and there is another. */}}
{{- define "kubernetes-oom-event-generator.keepsLedger" -}}
{{- if include "kubernetes-oom-event-generator.writesEvents" . }}
{{- $all := dict }}
{{- include "kubernetes-oom-event-generator.sinks" (tuple . $all) }}
{{- range $all.sinks }}
{{- if ne .type "kubernetes" }}true{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The namespaces that are watched, as JSON. `{"names": []}` is the whole cluster. */}}
{{- define "kubernetes-oom-event-generator.namespaces" -}}
{{- dict "names" (default list ((.Values.config).namespaces).include) | toJson }}
{{- end }}

{{/* The namespace of the demonstration in NOTES: the first that is watched and not excluded. Empty if none is known. */}}
{{- define "kubernetes-oom-event-generator.demonstrationNamespace" -}}
{{- $namespaces := (include "kubernetes-oom-event-generator.namespaces" . | fromJson).names }}
{{- $found := "" }}
{{- range default (list "default" .Release.Namespace) $namespaces }}
{{- $name := . }}
{{- $excluded := false }}
{{- range (($.Values.config).namespaces).exclude }}
{{- $glob := . | replace "." "\\." | replace "*" ".*" | replace "?" "." | replace "{" "(" | replace "}" ")" | replace "," "|" }}
{{- if regexMatch (printf "^(%s)$" $glob) $name }}{{ $excluded = true }}{{ end }}
{{- end }}
{{- if and (not $found) (not $excluded) }}{{ $found = $name }}{{ end }}
{{- end }}
{{- $found }}
{{- end }}

{{/* The rules that the program needs in each namespace that it watches. */}}
{{- define "kubernetes-oom-event-generator.rules" -}}
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["list", "watch"]
- apiGroups: [""]
  resources: ["events"]
  verbs: ["list", "watch"{{ if include "kubernetes-oom-event-generator.writesEvents" . }}, "create"{{ end }}{{ if include "kubernetes-oom-event-generator.keepsLedger" . }}, "patch"{{ end }}]
{{- end }}

{{/* Seconds that the Pod may take to stop: more than the program itself takes. */}}
{{- define "kubernetes-oom-event-generator.terminationGracePeriodSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- $start := mustToDate "2006 -0700" "1970 +0000" }}
{{- $end := mustDateModify (default "20s" (.Values.config).shutdown_grace) $start }}
{{- add 10 (unixEpoch $end | atoi) }}
{{- else }}
{{- .Values.terminationGracePeriodSeconds | int64 }}
{{- end }}
{{- end }}

{{/* The name of the objects that are in no namespace. It contains the release's namespace: a release in another namespace may have the same name. */}}
{{- define "kubernetes-oom-event-generator.clusterRoleName" -}}
{{- $fullname := include "kubernetes-oom-event-generator.fullname" . }}
{{- if eq $fullname .Release.Namespace }}
{{- $fullname }}
{{- else }}
{{- printf "%s-%s" .Release.Namespace $fullname }}
{{- end }}
{{- end }}

{{/* The endpoint that a ServiceMonitor or a PodMonitor scrapes. */}}
{{- define "kubernetes-oom-event-generator.endpoint" -}}
- port: http
  path: /metrics
  # Without it, Prometheus would rename the labels `namespace` and `container` of a kill.
  honorLabels: true
  {{- with .interval }}
  interval: {{ . | quote }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . | quote }}
  {{- end }}
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Fails with a sentence if values contradict each other. */}}
{{- define "kubernetes-oom-event-generator.demands" -}}
{{- range $label, $_ := include "kubernetes-oom-event-generator.selectorLabels" . | fromYaml }}
{{- range $values := tuple "commonLabels" "podLabels" }}
{{- if hasKey (default dict (get $.Values $values)) $label }}
{{- fail (printf "%s sets the label %s, by which the Deployment finds its Pod: remove it. To change app.kubernetes.io/name, set nameOverride" $values $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not (include "kubernetes-oom-event-generator.port" .) }}
{{- range tuple "serviceMonitor" "podMonitor" }}
{{- if (get $.Values .).enabled }}
{{- fail (printf "%s.enabled is true, but config.server is null, so there are no metrics: remove config.server, or disable the %s" . .) }}
{{- end }}
{{- end }}
{{- end }}
{{- $listen := default "" ((.Values.config).server).listen }}
{{- if regexMatch "^(127\\.|\\[::1\\])" $listen }}
{{- fail (printf "config.server.listen is %s, which neither the kubelet nor Prometheus can reach: set it to [::]:10254, or set config.server to null" $listen) }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) }}
{{- fail "serviceMonitor.enabled is true, but service.enabled is false, so there is nothing to scrape: enable the service, or use podMonitor instead" }}
{{- end }}
{{- $all := dict }}
{{- include "kubernetes-oom-event-generator.sinks" (tuple . $all) }}
{{- range $name, $sink := $all.sinks }}
{{- with get (dict "slack" "webhook_url" "webhook" "url") $sink.type }}
{{- $file := printf "%s_file" . }}
{{- $variable := printf "OOM_SINKS__%s__%s" (upper $name) (upper .) }}
{{- $given := list }}
{{- if hasKey $sink . }}{{- $given = append $given . }}{{- end }}
{{- if hasKey $sink $file }}{{- $given = append $given $file }}{{- end }}
{{- range $.Values.extraEnv }}
{{- if hasPrefix $variable (upper .name) }}{{- $given = append $given .name }}{{- end }}
{{- end }}
{{- if not $given }}
{{- fail (printf "config.sinks.%s of type %s has no URL: put it into a Secret, name that in secrets.existing, and set config.sinks.%s.%s to /etc/oom/secrets/KEY" $name $sink.type $name $file) }}
{{- else if gt (len $given) 1 }}
{{- fail (printf "config.sinks.%s has more than one URL: give only one of %s" $name (join " and " $given)) }}
{{- end }}
{{- end }}
{{- $files := dict }}
{{- range tuple "webhook_url_file" "url_file" "signing_secret_file" }}
{{- $_ := set $files . (default "" (get $sink .)) }}
{{- end }}
{{- range $key := tuple "header_files" "secret_files" }}
{{- range $name, $file := default dict (get $sink $key) }}
{{- $_ := set $files (printf "%s.%s" $key $name) $file }}
{{- end }}
{{- end }}
{{- range $key, $file := $files }}
{{- $secret := trimPrefix "/etc/oom/secrets/" $file }}
{{- if and (ne $secret $file) (not $.Values.secrets.existing) (not (hasKey (default dict $.Values.secrets.create) $secret)) }}
{{- fail (printf "config.sinks.%s.%s is %s, but no Secret has the key %s: name a Secret in secrets.existing, or set secrets.create.%s" $name $key $file $secret $secret) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The TCP ports that the Pod must reach, as JSON: those of the values, and of the URLs of sinks, also in Secrets that the chart creates. */}}
{{- define "kubernetes-oom-event-generator.egressPorts" -}}
{{- $all := dict }}
{{- include "kubernetes-oom-event-generator.sinks" (tuple . $all) }}
{{- $ports := list }}
{{- range .Values.networkPolicy.egressPorts }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- range $all.sinks }}
{{- $urls := concat (default list .urls) (list .url) }}
{{- range tuple .url_file .webhook_url_file }}
{{- $urls = append $urls (get (default dict $.Values.secrets.create) (default "" . | trimPrefix "/etc/oom/secrets/")) }}
{{- end }}
{{- range compact $urls }}
{{- with regexFind "^https?://[^/?#\\s]+" . }}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" }}
{{- $ports = append $ports (default (ternary 80 443 (hasPrefix "http:" .)) $port | int) }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "ports" (uniq $ports) | toJson }}
{{- end }}
