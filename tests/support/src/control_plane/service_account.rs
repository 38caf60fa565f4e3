//! Service accounts with rules of their own, to see what the program may do with which permission.

use std::time::Duration;

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    authorization::v1::SubjectAccessReview,
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{Namespace, kubelet::from};
use crate::{Error, eventually};

const ALLOWED_WITHIN: Duration = Duration::from_secs(10);

/// Where a service account's rules hold.
#[derive(Clone, Copy, Debug)]
pub enum GrantScope<'a> {
    /// Everywhere: a `ClusterRole`.
    Cluster,
    /// In each of these namespaces: a `Role`.
    Namespaces(&'a [&'a str]),
}

impl Namespace {
    /// Makes a service account with these rules (RBAC's `rules`) and a token for it, once the API
    /// server knows that they hold.
    ///
    /// # Errors
    ///
    /// The API server refused, or doesn't know the rules after 10 s.
    pub async fn service_account_token(
        &self,
        name: &str,
        scope: GrantScope<'_>,
        rules: Value,
    ) -> Result<String, Error> {
        let tried =
            |error| Error::new(format!("making the service account {name} in {}", self.name()), error);
        let create = PostParams::default();
        let accounts = self.api::<ServiceAccount>();
        accounts.create(&create, &from(json!({"metadata": {"name": name}}))?).await.map_err(tried)?;
        // Roles of the cluster, and of namespaces that another account is granted too, need a name of their own.
        let role = format!("{}-{name}", self.name());
        let subjects = json!([{"kind": "ServiceAccount", "namespace": self.name(), "name": name}]);
        let role_object = json!({"metadata": {"name": role}, "rules": rules});
        let binding = |kind: &str| {
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role});
            json!({"metadata": {"name": role["name"]}, "roleRef": role, "subjects": subjects})
        };
        match scope {
            GrantScope::Cluster => {
                let grants = Api::<ClusterRole>::all(self.client());
                grants.create(&create, &from(role_object)?).await.map_err(tried)?;
                let bindings = Api::<ClusterRoleBinding>::all(self.client());
                bindings.create(&create, &from(binding("ClusterRole"))?).await.map_err(tried)?;
                self.allowed(name, None, &rules).await?;
            }
            GrantScope::Namespaces(namespaces) => {
                for namespace in namespaces {
                    let grants = Api::<Role>::namespaced(self.client(), namespace);
                    grants.create(&create, &from(role_object.clone())?).await.map_err(tried)?;
                    let bindings = Api::<RoleBinding>::namespaced(self.client(), namespace);
                    bindings.create(&create, &from(binding("Role"))?).await.map_err(tried)?;
                    self.allowed(name, Some(namespace), &rules).await?;
                }
            }
        }
        let request: TokenRequest = from(json!({"spec": {"audiences": []}}))?;
        let answer = accounts.create_token_request(name, &create, &request).await.map_err(tried)?;
        Ok(answer.status.map(|status| status.token).unwrap_or_default())
    }

    /// Waits until the API server's authorizer, which watches the roles, has seen them.
    async fn allowed(&self, account: &str, namespace: Option<&str>, rules: &Value) -> Result<(), Error> {
        // Without rules nothing is allowed, and there is nothing to wait for.
        let Some(rule) = rules.get(0) else { return Ok(()) };
        let review: SubjectAccessReview = from(json!({"spec": {
            "user": format!("system:serviceaccount:{}:{account}", self.name()),
            "resourceAttributes": {
                "namespace": namespace, "verb": rule["verbs"][0],
                "group": rule["apiGroups"][0], "resource": rule["resources"][0],
            },
        }}))?;
        let reviews = Api::<SubjectAccessReview>::all(self.client());
        let tried = format!("allowing the service account {account} what its rules say");
        eventually(&tried, ALLOWED_WITHIN, async || {
            match reviews.create(&PostParams::default(), &review).await {
                Ok(answer) => answer.status.is_some_and(|status| status.allowed).then_some(Ok(())),
                Err(error) => Some(Err(Error::new(&tried, error))),
            }
        })
        .await?
    }
}
