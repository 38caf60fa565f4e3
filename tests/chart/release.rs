//! The chart, installed into a real API server, and its Pod played: no kubelet runs there, so the volumes
//! become files in a folder of their own, and the program starts with them and the account's token.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::TokenRequest,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{ConfigMap, Container, PodSpec, Secret, ServiceAccount, Volume},
    rbac::v1::{ClusterRole, PolicyRule, Role},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::{
    ControlPlane, Namespace, eventually,
    program::{PATIENCE, Program},
    tools,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

/// Where the chart lies.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/kubernetes-oom-event-generator");

/// What the chart calls all its objects in the release `oom`.
const NAME: &str = "oom-kubernetes-oom-event-generator";

/// Runs a tool; the answer is its stdout.
pub async fn tool(name: &str, arguments: &[&str], stdin: &str) -> String {
    let mut command = Command::new(tools::tool(name).await);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{name} {arguments:?} failed: {stderr}\n{stdout}");
    stdout
}

/// The chart in a namespace of its own, and what a kubelet would make of its Pod.
pub struct Release<'a> {
    cluster: &'a ControlPlane,
    /// Where it is installed.
    pub namespace: Namespace,
    /// The namespaces of its Roles; none means that it has a `ClusterRole`.
    watched: Vec<String>,
    kubeconfig: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    _directory: TempDir,
}

impl<'a> Release<'a> {
    /// Runs `helm install` with these values.
    pub async fn install(cluster: &'a ControlPlane, namespace: Namespace, values: &Value) -> Self {
        let kubeconfig = cluster.kubeconfig();
        let kubeconfig = kubeconfig.to_str().unwrap();
        let arguments = [
            "install",
            "oom",
            CHART,
            "--namespace",
            namespace.name(),
            "--kubeconfig",
            kubeconfig,
            "--values",
            "-",
        ];
        tool("helm", &arguments, &values.to_string()).await;

        let deployment = namespace.api::<Deployment>().get(NAME).await.unwrap();
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        let account = pod.service_account_name.as_deref().unwrap();
        let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
        let accounts = namespace.api::<ServiceAccount>();
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        let kubeconfig = cluster.kubeconfig_for(&answer.status.unwrap().token).unwrap();

        let directory = tempfile::tempdir().unwrap();
        let container = &pod.containers[0];
        mount(&namespace, &pod, container, directory.path()).await;
        let watched =
            serde_json::from_value(values["config"]["namespaces"]["include"].clone()).unwrap_or_default();
        Self {
            cluster,
            watched,
            kubeconfig,
            environment: environment(&namespace, container, directory.path()),
            arguments: container.args.clone().unwrap_or_default(),
            namespace,
            _directory: directory,
        }
    }

    /// Starts the program as the Pod's container would be.
    pub fn start(&self) -> Program {
        self.start_with(&[])
    }

    /// As [`start`](Self::start), with these arguments too, such as those of the Pod of `helm test`.
    pub fn start_with(&self, more: &[&str]) -> Program {
        let arguments: Vec<_> =
            self.arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Program::start(&self.kubeconfig, &arguments, &environment)
    }

    /// The program's account, as the API server knows it.
    pub fn account(&self) -> String {
        format!("system:serviceaccount:{}:{NAME}", self.namespace.name())
    }

    /// What its role allows; with several Roles, the first.
    pub async fn rules(&self) -> Vec<PolicyRule> {
        match self.watched.first() {
            None => self.cluster_roles().get(&self.cluster_role()).await.unwrap().rules.unwrap(),
            Some(namespace) => self.roles(namespace).get(NAME).await.unwrap().rules.unwrap(),
        }
    }

    /// Replaces what its role allows, in each of its namespaces.
    pub async fn allow(&self, rules: &[PolicyRule]) {
        let patch = Patch::Merge(json!({ "rules": rules }));
        let by = PatchParams::default();
        if self.watched.is_empty() {
            self.cluster_roles().patch(&self.cluster_role(), &by, &patch).await.unwrap();
        }
        for namespace in &self.watched {
            self.roles(namespace).patch(NAME, &by, &patch).await.unwrap();
        }
    }

    /// Waits until the API server's authorizer, which watches the roles, allows the account exactly this.
    pub async fn until_allowed(&self, rules: &[PolicyRule]) {
        let whole_cluster = [None];
        let namespaces: Vec<_> = self.watched.iter().map(Some).collect();
        for namespace in if namespaces.is_empty() { &whole_cluster[..] } else { &namespaces } {
            for verb in ["list", "watch", "create", "patch"] {
                for resource in ["pods", "events"] {
                    let of_core = ResourceAttributes {
                        namespace: namespace.cloned(),
                        verb: Some(verb.to_owned()),
                        resource: Some(resource.to_owned()),
                        ..ResourceAttributes::default()
                    };
                    self.until(of_core, allow(rules, verb, resource)).await;
                }
            }
        }
    }

    /// What its Role for the Lease allows.
    pub async fn lease_rules(&self) -> Vec<PolicyRule> {
        self.roles(self.namespace.name()).get(&lease_role()).await.unwrap().rules.unwrap()
    }

    /// Replaces what its Role for the Lease allows, and waits until the API server's authorizer knows.
    pub async fn allow_lease(&self, rules: &[PolicyRule]) {
        let patch = Patch::Merge(json!({ "rules": rules }));
        let of_release = self.roles(self.namespace.name());
        of_release.patch(&lease_role(), &PatchParams::default(), &patch).await.unwrap();
        for (verb, name) in [("create", None), ("get", Some(NAME)), ("update", Some(NAME))] {
            let of_lease = ResourceAttributes {
                namespace: Some(self.namespace.name().to_owned()),
                verb: Some(verb.to_owned()),
                group: Some("coordination.k8s.io".to_owned()),
                resource: Some("leases".to_owned()),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            };
            self.until(of_lease, allow(rules, verb, "leases")).await;
        }
    }

    async fn until(&self, attributes: ResourceAttributes, allowed: bool) {
        let what = format!("{attributes:?} allowed: {allowed}");
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.account()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews = Api::<SubjectAccessReview>::all(self.cluster.client().unwrap());
        eventually(what, PATIENCE, async || {
            let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
            (answer.status.unwrap().allowed == allowed).then_some(())
        })
        .await
        .unwrap();
    }

    fn cluster_role(&self) -> String {
        format!("{}-{NAME}", self.namespace.name())
    }

    fn cluster_roles(&self) -> Api<ClusterRole> {
        Api::all(self.cluster.client().unwrap())
    }

    fn roles(&self, namespace: &str) -> Api<Role> {
        Api::namespaced(self.cluster.client().unwrap(), namespace)
    }
}

fn lease_role() -> String {
    format!("{NAME}-lease")
}

/// Whether rules allow a verb on a resource.
fn allow(rules: &[PolicyRule], verb: &str, resource: &str) -> bool {
    let allows = |rule: &PolicyRule| {
        rule.verbs.contains(&verb.to_owned())
            && rule.resources.as_ref().unwrap().contains(&resource.to_owned())
    };
    rules.iter().any(allows)
}

/// Writes what the container's mounts show into the folder, which stands for its root.
async fn mount(namespace: &Namespace, pod: &PodSpec, container: &Container, root: &Path) {
    for mount in container.volume_mounts.iter().flatten() {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name).unwrap();
        let folder = PathBuf::from(inside(root, &mount.mount_path));
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in content(namespace, volume).await {
            // Where a path in the configuration names a mount, the program is to look here.
            fs::write(folder.join(name), content.replace("/etc/oom/", &inside(root, "/etc/oom/"))).unwrap();
        }
    }
}

/// The files of a volume.
async fn content(namespace: &Namespace, volume: &Volume) -> BTreeMap<String, String> {
    if let Some(source) = &volume.config_map {
        return namespace.api::<ConfigMap>().get(&source.name).await.unwrap().data.unwrap();
    }
    let mut files = BTreeMap::new();
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        let secret = namespace.api::<Secret>().get(&source.secret.as_ref().unwrap().name).await.unwrap();
        let data = secret.data.unwrap().into_iter();
        files.extend(data.map(|(name, content)| (name, String::from_utf8(content.0).unwrap())));
    }
    files
}

fn environment(namespace: &Namespace, container: &Container, root: &Path) -> Vec<(String, String)> {
    let of_the_pod = BTreeMap::from([("metadata.name", NAME), ("metadata.namespace", namespace.name())]);
    let variables = container.env.iter().flatten().map(|variable| {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match (&variable.value, field) {
            (Some(value), _) => value.replace("/etc/oom/", &inside(root, "/etc/oom/")),
            (None, Some(field)) => of_the_pod[field.field_path.as_str()].to_owned(),
            (None, None) => panic!("the test doesn't know where {} comes from", variable.name),
        };
        (variable.name.clone(), value)
    });
    variables.collect()
}

fn inside(root: &Path, path: &str) -> String {
    format!("{}{path}", root.display())
}
