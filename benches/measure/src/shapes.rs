//! Four shapes of Pods, spelled as an API server does, `managedFields` and all: 6-10 KB of JSON each. What
//! differs between Pods of a shape is a gap, such as `<namespace>`.

/// What tells one shape from another.
struct Shape {
    /// The kind of the controlling owner.
    owner: &'static str,
    init: &'static [&'static str],
    containers: &'static [&'static str],
    volumes: &'static [&'static str],
}

const SHAPES: [Shape; 4] = [
    Shape { owner: "ReplicaSet", init: &[], containers: &["app"], volumes: &["config"] },
    Shape { owner: "ReplicaSet", init: &[], containers: &["app", "istio-proxy"], volumes: &[] },
    Shape { owner: "StatefulSet", init: &[], containers: &["app", "exporter"], volumes: &["data", "config"] },
    Shape { owner: "DaemonSet", init: &["setup"], containers: &["app"], volumes: &["run", "logs"] },
];

/// The Event that tells of the start of a Pod's first container.
pub const STARTED: &str = r#""metadata":{"name":"<workload>-<suffix>.<version>","namespace":"<namespace>","uid":"11111111-0000-4000-8000-000000000000","resourceVersion":"<version>","creationTimestamp":"<now>","managedFields":[{"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"<now>","fieldsType":"FieldsV1","fieldsV1":{"f:count":{},"f:firstTimestamp":{},"f:involvedObject":{},"f:lastTimestamp":{},"f:message":{},"f:reason":{},"f:reportingComponent":{},"f:reportingInstance":{},"f:source":{"f:component":{},"f:host":{}},"f:type":{}}}]},"involvedObject":{"kind":"Pod","namespace":"<namespace>","name":"<workload>-<suffix>","uid":"<uid>","apiVersion":"v1","resourceVersion":"<version>","fieldPath":"spec.containers{app}"},"reason":"Started","message":"Started container app","source":{"component":"kubelet","host":"<node>"},"firstTimestamp":"<now>","lastTimestamp":"<now>","count":<starts>,"type":"Normal","eventTime":null,"reportingComponent":"kubelet","reportingInstance":"<node>""#;

/// How many shapes there are.
pub const COUNT: usize = SHAPES.len();

/// The fields of a Pod of this shape.
pub fn pod(shape: usize) -> String {
    let shape = &SHAPES[shape];
    format!("{},{},{}", metadata(shape), spec(shape), status(shape))
}

fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<T> = items.into_iter().collect();
    items.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",")
}

fn metadata(shape: &Shape) -> String {
    let owner = shape.owner;
    let managed = list([of_the_controller(shape), of_the_kubelet()]);
    format!(
        r#""metadata":{{"name":"<workload>-<suffix>","generateName":"<workload>-6c9f7b9d4-","namespace":"<namespace>","uid":"<uid>","resourceVersion":"<version>","generation":1,"creationTimestamp":"2026-11-01T07:58:00Z","labels":{{"app.kubernetes.io/instance":"<workload>","app.kubernetes.io/name":"<workload>","app.kubernetes.io/part-of":"shop","app.kubernetes.io/version":"1.42.0","pod-template-hash":"6c9f7b9d4","topology.kubernetes.io/region":"eu-central-1"}},"annotations":{{"checksum/config":"<hash>","kubectl.kubernetes.io/restartedAt":"2026-10-30T12:11:43+01:00","prometheus.io/path":"/metrics","prometheus.io/port":"9090","prometheus.io/scrape":"true"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"{owner}","name":"<workload>-6c9f7b9d4","uid":"5f1c3c1e-2c1d-4a57-9a43-6f3f3d0f6b11","controller":true,"blockOwnerDeletion":true}}],"managedFields":[{managed}]}}"#
    )
}

fn of_the_controller(shape: &Shape) -> String {
    let container = |name: &&str| {
        format!(
            r#""k:{{\"name\":\"{name}\"}}":{{".":{{}},"f:args":{{}},"f:env":{{".":{{}},"k:{{\"name\":\"GOMEMLIMIT\"}}":{{".":{{}},"f:name":{{}},"f:valueFrom":{{".":{{}},"f:resourceFieldRef":{{}}}}}},"k:{{\"name\":\"LOG_LEVEL\"}}":{{".":{{}},"f:name":{{}},"f:value":{{}}}}}},"f:image":{{}},"f:imagePullPolicy":{{}},"f:livenessProbe":{{".":{{}},"f:failureThreshold":{{}},"f:httpGet":{{".":{{}},"f:path":{{}},"f:port":{{}},"f:scheme":{{}}}},"f:periodSeconds":{{}},"f:successThreshold":{{}},"f:timeoutSeconds":{{}}}},"f:name":{{}},"f:ports":{{".":{{}},"k:{{\"containerPort\":8080,\"protocol\":\"TCP\"}}":{{".":{{}},"f:containerPort":{{}},"f:name":{{}},"f:protocol":{{}}}}}},"f:resources":{{".":{{}},"f:limits":{{".":{{}},"f:memory":{{}}}},"f:requests":{{".":{{}},"f:cpu":{{}},"f:memory":{{}}}}}},"f:terminationMessagePath":{{}},"f:terminationMessagePolicy":{{}}}}"#
        )
    };
    let volume = |name: &&str| format!(r#""k:{{\"name\":\"{name}\"}}":{{".":{{}},"f:name":{{}}}}"#);
    let (containers, init, volumes) = (
        list(shape.containers.iter().map(container)),
        list(shape.init.iter().map(container)),
        list(shape.volumes.iter().map(volume)),
    );
    format!(
        r#"{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-01T07:58:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:checksum/config":{{}},"f:kubectl.kubernetes.io/restartedAt":{{}},"f:prometheus.io/path":{{}},"f:prometheus.io/port":{{}},"f:prometheus.io/scrape":{{}}}},"f:generateName":{{}},"f:labels":{{".":{{}},"f:app.kubernetes.io/instance":{{}},"f:app.kubernetes.io/name":{{}},"f:app.kubernetes.io/part-of":{{}},"f:app.kubernetes.io/version":{{}},"f:pod-template-hash":{{}}}},"f:ownerReferences":{{".":{{}},"k:{{\"uid\":\"5f1c3c1e-2c1d-4a57-9a43-6f3f3d0f6b11\"}}":{{}}}}}},"f:spec":{{"f:containers":{{{containers}}},"f:initContainers":{{{init}}},"f:dnsPolicy":{{}},"f:enableServiceLinks":{{}},"f:restartPolicy":{{}},"f:schedulerName":{{}},"f:securityContext":{{}},"f:serviceAccountName":{{}},"f:terminationGracePeriodSeconds":{{}},"f:volumes":{{".":{{}}{}{volumes}}}}}}}}}"#,
        if shape.volumes.is_empty() { "" } else { "," }
    )
}

fn of_the_kubelet() -> String {
    let condition = |kind: &str| {
        format!(
            r#""k:{{\"type\":\"{kind}\"}}":{{".":{{}},"f:lastProbeTime":{{}},"f:lastTransitionTime":{{}},"f:observedGeneration":{{}},"f:status":{{}},"f:type":{{}}}}"#
        )
    };
    let conditions =
        list(["ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready"].map(condition));
    format!(
        r#"{{"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"2026-11-01T08:00:01Z","fieldsType":"FieldsV1","fieldsV1":{{"f:status":{{"f:conditions":{{{conditions}}},"f:containerStatuses":{{}},"f:hostIP":{{}},"f:hostIPs":{{}},"f:initContainerStatuses":{{}},"f:observedGeneration":{{}},"f:phase":{{}},"f:podIP":{{}},"f:podIPs":{{".":{{}},"k:{{\"ip\":\"10.42.7.19\"}}":{{".":{{}},"f:ip":{{}}}}}},"f:startTime":{{}}}}}},"subresource":"status"}}"#
    )
}

fn spec(shape: &Shape) -> String {
    let container = |name: &&str| {
        format!(
            r#"{{"name":"{name}","image":"registry.example.com/shop/{name}:1.42.0","args":["--config=/etc/{name}/config.yaml","--listen=:8080"],"ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}],"env":[{{"name":"GOMEMLIMIT","valueFrom":{{"resourceFieldRef":{{"resource":"limits.memory","divisor":"0"}}}}}},{{"name":"LOG_LEVEL","value":"info"}}],"resources":{{"limits":{{"memory":"256Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"kube-api-access","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"livenessProbe":{{"httpGet":{{"path":"/healthz","port":"http","scheme":"HTTP"}},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent","securityContext":{{"capabilities":{{"drop":["ALL"]}},"runAsNonRoot":true,"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false}}}}"#
        )
    };
    let volume = |name: &&str| {
        format!(r#"{{"name":"{name}","configMap":{{"name":"<workload>-{name}","defaultMode":420}}}},"#)
    };
    let (init, containers) =
        (list(shape.init.iter().map(container)), list(shape.containers.iter().map(container)));
    let volumes: String = shape.volumes.iter().map(volume).collect();
    format!(
        r#""spec":{{"volumes":[{volumes}{{"name":"kube-api-access","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}},{{"downwardAPI":{{"items":[{{"path":"namespace","fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.namespace"}}}}]}}}}],"defaultMode":420}}}}],"initContainers":[{init}],"containers":[{containers}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"<workload>","serviceAccount":"<workload>","nodeName":"<node>","securityContext":{{"runAsUser":1000,"fsGroup":1000}},"schedulerName":"default-scheduler","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}},{{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"}}"#
    )
}

fn status(shape: &Shape) -> String {
    let condition = |kind: &str| {
        format!(
            r#"{{"type":"{kind}","observedGeneration":1,"status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-01T08:00:01Z"}}"#
        )
    };
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let runs = |name: &&str| {
        if *name == "app" {
            return container_status(
                name,
                "<state>",
                "<lastState>",
                "<restarts>",
                "containerd://<containerID>",
            );
        }
        let state = r#""running":{"startedAt":"2026-11-01T08:00:01Z"}"#;
        container_status(name, state, "", "0", "containerd://<hash>")
    };
    let ended = |name: &&str| {
        let state = r#""terminated":{"exitCode":0,"reason":"Completed","startedAt":"2026-11-01T07:58:02Z","finishedAt":"2026-11-01T07:58:03Z","containerID":"containerd://<hash>"}"#;
        container_status(name, state, "", "0", "containerd://<hash>")
    };
    format!(
        r#""status":{{"observedGeneration":1,"phase":"Running","conditions":[{}],"hostIP":"10.0.7.19","hostIPs":[{{"ip":"10.0.7.19"}}],"podIP":"10.42.7.19","podIPs":[{{"ip":"10.42.7.19"}}],"startTime":"2026-11-01T07:58:00Z","initContainerStatuses":[{}],"containerStatuses":[{}],"qosClass":"Burstable"}}"#,
        list(conditions.map(condition)),
        list(shape.init.iter().map(ended)),
        list(shape.containers.iter().map(runs)),
    )
}

fn container_status(name: &str, state: &str, last: &str, restarts: &str, id: &str) -> String {
    format!(
        r#"{{"name":"{name}","state":{{{state}}},"lastState":{{{last}}},"ready":true,"restartCount":{restarts},"image":"registry.example.com/shop/{name}:1.42.0","imageID":"registry.example.com/shop/{name}@sha256:<hash>","containerID":"{id}","started":true,"allocatedResources":{{"cpu":"100m","memory":"128Mi"}},"resources":{{"limits":{{"memory":"256Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"kube-api-access","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","readOnly":true,"recursiveReadOnly":"Disabled"}}],"user":{{"linux":{{"uid":1000,"gid":1000,"supplementalGroups":[1000]}}}}}}"#
    )
}
