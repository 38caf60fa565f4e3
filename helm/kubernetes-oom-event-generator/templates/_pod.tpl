{{/* What the Pods of the Deployment and of `helm test` have in common, except for their container. */}}
{{- define "kubernetes-oom-event-generator.pod" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "kubernetes-oom-event-generator.fullname" . | quote }}
  {{- if or .Values.secrets.existing .Values.secrets.create }}
  - name: secrets
    projected:
      sources:
        {{- range .Values.secrets.existing }}
        - secret:
            name: {{ . | quote }}
        {{- end }}
        {{- if .Values.secrets.create }}
        - secret:
            name: {{ include "kubernetes-oom-event-generator.fullname" . | quote }}
        {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerated := list }}
{{- range .Values.tolerations }}{{ $tolerated = append $tolerated .key }}{{ end }}
tolerations:
  # Moves the Pod off a dead node in half a minute instead of five.
  {{- range tuple "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" }}
  {{- if not (has . $tolerated) }}
  - key: {{ . }}
    operator: Exists
    effect: NoExecute
    tolerationSeconds: 30
  {{- end }}
  {{- end }}
  {{- with .Values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What the containers of these Pods have in common. */}}
{{- define "kubernetes-oom-event-generator.container" -}}
image: {{ include "kubernetes-oom-event-generator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  - name: OOM_CONFIG
    value: /etc/oom/config/config.yaml
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/oom/config
    readOnly: true
  {{- if or .Values.secrets.existing .Values.secrets.create }}
  - name: secrets
    mountPath: /etc/oom/secrets
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
