//! Mistakes in values, each of which Helm refuses with the sentence that mends it, before it takes down what runs. The
//! program refuses those in its configuration as well, for whoever installs it without Helm.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use futures::future::join_all;
use serde_json::Value;
use support::tools;
use tokio::task::spawn_blocking;

use super::{release::CHART, schema::problems};

/// Mistakes in the configuration: the value of `config`, and what Helm says.
const IN_CONFIG: &[(&str, &str)] = &[
    // Misspelt keys, at each depth.
    ("lookbak: 1h", "/config/lookbak': value must be 'under another key, one that config.example.yaml has"),
    ("sink: {a: {type: stdout}}", "/config/sink': value must be 'under another key"),
    ("leaderElection: {lease: x}", "shutdown_grace, leader_election, sinks'"),
    ("namespaces: {exlude: [a]}", "under another key: include or exclude'"),
    (
        "leader_election: {enabled: true}",
        "/config/leader_election/enabled': value must be 'under another key: lease'",
    ),
    ("advice: {ratio: 2}", "under another key: bump_up_ratio or min_bump_up'"),
    ("log: {level: debug}", "under another key: format'"),
    ("server: {port: 80}", "under another key: listen or page'"),
    ("sinks: {a: {typ: stdout}}", "/config/sinks/a': missing property 'type'"),
    (
        "sinks: {a: {type: stdout, math: {labels: a}}}",
        "/config/sinks/a/math': value must be 'left out: no key of a sink of type stdout, which has",
    ),
    (
        "sinks: {a: {type: stdout, match: {namespace: [a]}}}",
        "/match/namespace': value must be 'under another key: namespaces, pods, labels",
    ),
    (
        "sinks: {a: {type: kubernetes, send_resolved: true}}",
        "no key of a sink of type kubernetes, which has match,",
    ),
    (
        "sinks: {a: {type: slack, webhook_url_file: /x, channel: oom}}",
        "which has webhook_url_file, send_resolved, link",
    ),
    (
        "sinks: {a: {type: webhook, url: 'https://x', header: {X: y}}}",
        "which has url or url_file, method, headers",
    ),
    ("sinks: {a: {type: alertmanager, url: 'http://a:9093'}}", "missing property 'urls'"),
    // Wrong types.
    ("cluster: 5", "/config/cluster': got number, want null or string"),
    ("report_unrestarted: 'yes'", "got string, want null or boolean"),
    ("log: json", "/config/log': got string, want null or object"),
    ("server: {page: 'off'}", "/config/server/page': got string, want null or boolean"),
    ("namespaces: {include: shop}", "/config/namespaces/include': got string, want null or array"),
    ("sinks: [stdout]", "/config/sinks': got array, want null or object"),
    ("sinks: {a: stdout}", "/config/sinks/a': got string, want object"),
    (
        "sinks: {a: {type: stdout, match: {namespaces: shop}}}",
        "/match/namespaces': got string, want null or array",
    ),
    ("sinks: {a: {type: alertmanager, urls: 'http://a:9093'}}", "/urls': got string, want array"),
    ("sinks: {a: {type: webhook, url: 'https://x', accept: [ok]}}", "/accept/0': got string, want integer"),
    // Impossible values.
    ("lookback: 55", "/config/lookback': value must be 'a duration such as 2s, 15m or 1h30m'"),
    ("lookback: 1d", "/config/lookback': value must be 'a duration such as 2s, 15m or 1h30m'"),
    ("lookback: -1h", "/config/lookback': value must be 'a duration such as"),
    ("log: {format: xml}", "/config/log/format': value must be one of 'text', 'json'"),
    (
        "server: {listen: ':10254'}",
        "/config/server/listen': value must be 'an address and a port such as [::]:10254",
    ),
    ("server: {listen: 'localhost:10254'}", "value must be 'an address and a port such as [::]:10254"),
    ("server: {listen: '0.0.0.0:70000'}", "value must be 'an address and a port"),
    (
        "leader_election: {lease: Oom_Lease}",
        "value must be 'the name of a Lease: at most 253 of a-z, 0-9, - and .'",
    ),
    ("advice: {min_bump_up: 100MB}", "value must be 'an amount of memory such as 100Mi'"),
    ("advice: {bump_up_ratio: 0.5}", "value must be 'a number from 1 to 10 such as 1.2"),
    ("advice: {bump_up_ratio: '1.2'}", "without quotes"),
    (
        "namespaces: {include: ['kube-*']}",
        "a namespace\\'s name, of a-z, 0-9 and -: globs can stand in namespaces.exclude'",
    ),
    (
        "namespaces: {exclude: ['[kube']}",
        "/config/namespaces/exclude/0': value must be 'a glob such as shop-* or search",
    ),
    ("namespaces: {exclude: ['!kube']}", "/config/namespaces/exclude/0': value must be 'a glob"),
    ("sinks: {Team: {type: stdout}}", "/config/sinks/Team': value must be 'under another name: a-z, 0-9"),
    (
        "sinks: {a: {type: slak}}",
        "value must be one of 'alertmanager', 'kubernetes', 'slack', 'stdout', 'webhook'",
    ),
    (
        "sinks: {a: {type: Slack}}",
        "value must be one of 'alertmanager', 'kubernetes', 'slack', 'stdout', 'webhook'",
    ),
    ("sinks: {a: {type: stdout, queue_capacity: -1}}", "/queue_capacity': minimum: got -1, want 1"),
    ("sinks: {a: {type: stdout, retry_for: -5m}}", "/retry_for': value must be 'a duration such as"),
    ("sinks: {a: {type: stdout, group_wait: 5}}", "/group_wait': value must be 'a duration such as"),
    (
        "sinks: {a: {type: stdout, match: {namespaces: ['shop-[']}}}",
        "/match/namespaces/0': value must be 'a glob such as shop-*, !shop-test or search",
    ),
    (
        "sinks: {a: {type: stdout, match: {namespaces: [Shop]}}}",
        "/match/namespaces/0': value must be 'a glob such as",
    ),
    (
        "sinks: {a: {type: stdout, match: {workload_kinds: [apps/Deployment]}}}",
        "value must be 'a glob such as Deployment, *Set or !Job",
    ),
    (
        "sinks: {a: {type: stdout, match: {labels: 'team:shop'}}}",
        "/match/labels': value must be 'a label selector such as team=shop,tier!=batch",
    ),
    (
        "sinks: {a: {type: stdout, match: {labels: 'team in shop'}}}",
        "value must be 'a label selector such as",
    ),
    (
        "sinks: {a: {type: slack, webhook_url_file: secrets/team}}",
        "/webhook_url_file': value must be 'the path of a file, such as /etc/oom/secrets/KEY",
    ),
    (
        "sinks: {a: {type: slack, webhook_url_file: /x, link: 'grafana/{pod}'}}",
        "/link': value must be 'a URL, in which {cluster}",
    ),
    (
        "sinks: {a: {type: webhook, url: 'ftp://x'}}",
        "/url': value must be 'an https URL; http only to loopback",
    ),
    (
        "sinks: {a: {type: webhook, url: 'http://example.com/x'}}",
        "/url': value must be 'an https URL; http only to loopback",
    ),
    (
        "sinks: {a: {type: webhook, url: 'https://x', url_file: /x}}",
        "config.sinks.a has more than one URL: give only one of url and url_file",
    ),
    (
        "sinks: {a: {type: webhook, url: 'https://x', method: GET}}",
        "/method': value must be one of 'POST', 'PUT', 'PATCH'",
    ),
    ("sinks: {a: {type: webhook, url: 'https://x', batch: 0}}", "/batch': minimum: got 0, want 1"),
    (
        "sinks: {a: {type: webhook, url: 'https://x', body: hello}}",
        "/body': value must be 'a MiniJinja template that gives JSON",
    ),
    (
        "sinks: {a: {type: webhook, url: 'https://x', headers: {'X Y': z}}}",
        "/headers/X Y': value must be 'under the name of a header, such as X-Team'",
    ),
    (
        "sinks: {a: {type: alertmanager, urls: ['alertmanager:9093']}}",
        "/urls/0': value must be 'the URL of a replica, such as http://alertmanager-operated.monitoring:9093'",
    ),
    (
        "sinks: {a: {type: alertmanager, urls: ['http://a:9093'], resolve_after: 1}}",
        "/resolve_after': value must be 'a duration such as",
    ),
    (
        "sinks: {a: {type: alertmanager, urls: ['http://a:9093'], labels: {1x: y}}}",
        "/labels/1x': value must be 'under another name: a-z, A-Z, 0-9 and _, not beginning with a digit'",
    ),
    // What is missing.
    (
        "sinks: {a: {type: slack}}",
        "config.sinks.a of type slack has no URL: put it into a Secret, name that in secrets.existing, and set config.sinks.a.webhook_url_file to /etc/oom/secrets/KEY",
    ),
    ("sinks: {a: {type: webhook}}", "config.sinks.a of type webhook has no URL"),
    ("sinks: {a: {type: alertmanager}}", "missing property 'urls'"),
];

/// Mistakes in what only the chart has: the values, and what Helm says.
const IN_VALUES: &[(&str, &str)] = &[
    (
        "replicaCount: 2",
        "/replicaCount': value must be 'under another key: `helm show values` lists the chart\\'s own",
    ),
    (
        "sinks: {a: {type: stdout}}",
        "/sinks': value must be 'under another key: `helm show values` lists the chart\\'s own, and the program\\'s (cluster, lookback, sinks …) stand under config'",
    ),
    ("replicas: two", "/replicas': got string, want integer"),
    ("replicas: -1", "/replicas': minimum: got -1, want 0"),
    ("image: null", "at '': missing property 'image'"),
    (
        "image: {repo: x}",
        "/image/repo': value must be 'under another key: repository, tag, digest or pullPolicy'",
    ),
    ("image: {tag: 1}", "/image/tag': got number, want string"),
    ("image: {digest: 'sha256:abc'}", "/image/digest': value must be 'sha256: and 64 of 0-9 and a-f'"),
    ("image: {pullPolicy: Sometimes}", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ("secret: {existing: [a]}", "/secret': value must be 'under another key"),
    ("secrets: {name: oom-slack}", "/secrets/name': value must be 'under another key: existing or create'"),
    ("secrets: {existing: oom-slack}", "/secrets/existing': got string, want array"),
    (
        "secrets: {create: {'a b': c}}",
        "/secrets/create/a b': value must be 'under another key: letters, digits,",
    ),
    ("secrets: {create: {team: 5}}", "/secrets/create/team': got number, want string"),
    (
        "resources: {limit: {memory: 48Mi}}",
        "/resources/limit': value must be 'under another key: limits or requests'",
    ),
    (
        "resources: {limits: {memory: 48MB}}",
        "/resources/limits/memory': value must be 'an amount such as 48Mi of memory or 10m of cpu'",
    ),
    ("resources: {requests: {cpu: -1}}", "/resources/requests/cpu': value must be 'an amount"),
    ("extraEnv: {HTTPS_PROXY: 'http://proxy'}", "/extraEnv': got object, want array"),
    ("extraArgs: -v", "/extraArgs': got string, want array"),
    ("rbac: {enabled: false}", "/rbac/enabled': value must be 'under another key: create'"),
    ("podMonitor: {enabled: 'yes'}", "/podMonitor/enabled': got string, want boolean"),
    ("serviceMonitor: {interval: 30}", "/serviceMonitor/interval': value must be 'a duration such as 30s'"),
    (
        "serviceMonitor: {enabled: true}\nservice: {enabled: false}",
        "enable the service, or use podMonitor instead",
    ),
    (
        "presets: [slack]",
        "value must be one of 'discord', 'google-chat', 'mattermost', 'pagerduty', 'rocket-chat', 'teams'",
    ),
    (
        "presets: [teams]",
        "config.sinks.teams.url_file is /etc/oom/secrets/teams, but no Secret has the key teams: name a Secret in secrets.existing, or set secrets.create.teams",
    ),
    (
        "presets: [teams]\nconfig: {sinks: {teams: {type: webhook, url: 'https://x'}}}",
        "config.sinks.teams has more than one URL",
    ),
    ("config: {sinks: {a: {type: slack, webhook_url: 'https://x'}}}", "put the URL into a Secret"),
    (
        "config: {sinks: {a: {type: slack, webhook_url_file: /etc/oom/secrets/a}}}",
        "name a Secret in secrets.existing, or set secrets.create.a",
    ),
    ("config: {server: {listen: '127.0.0.1:10254'}}", "neither the kubelet nor Prometheus can reach"),
    ("config: {server: null}\npodMonitor: {enabled: true}", "config.server is null, so there are no metrics"),
    ("podLabels: {app.kubernetes.io/name: x}", "by which the Deployment finds its Pod: remove it"),
];

/// Values that look like mistakes and are none.
const RIGHT: &[&str] = &[
    "config: {lookback: 1h30m, shutdown_grace: 0.5m, advice: null, server: null}",
    "config: {server: {listen: '0.0.0.0:65535'}}",
    "config: {namespaces: {exclude: ['kube-*', '{a,b-{c,d}}', 'shop-[!a-c]?']}}",
    "config: {sinks: {a: {type: stdout, match: {pods: ['!cart.v2-*'], workload_kinds: ['*Set', job], containers: []}}}}",
    "config: {sinks: {a: {type: stdout, match: {labels: ' app.kubernetes.io/name = x , !legacy, env in (a, b,), tier notin (x), a=='}}}}",
    "config: {sinks: {a: {type: webhook, url: 'http://receiver.oom.svc:8080/x', headers: {X-Team: shop}}}}",
    "config: {sinks: {a: {type: webhook, url: 'http://10.1.2.3/x'}, b: {type: webhook, url: 'http://[fd00::1]:80'}}}",
    "config: {sinks: {my-team: {type: slack}}}\nextraEnv: [{name: OOM_SINKS__MY-TEAM__WEBHOOK_URL, value: 'https://x'}]",
    "resources: {limits: {memory: 1e8, cpu: 0.5}, requests: {memory: 50331648, cpu: 10m}}",
];

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// What Helm says of these values; nothing is wrong with them without an error.
async fn rendered(values: &str) -> Result<(), String> {
    let helm = tools::tool("helm").await;
    let values = values.to_owned();
    let render = spawn_blocking(move || {
        let mut helm = Command::new(helm);
        helm.args(["template", "oom", CHART, "--values", "-"]);
        let mut helm =
            helm.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        helm.stdin.take().unwrap().write_all(values.as_bytes()).unwrap();
        helm.wait_with_output().unwrap()
    });
    let output = render.await.unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

#[tokio::test]
async fn helm_refuses_each_mistake_with_the_sentence_that_mends_it() {
    let in_config = IN_CONFIG.iter().map(|(config, said)| (format!("config: {{{config}}}"), *said));
    let mistakes: Vec<_> =
        in_config.chain(IN_VALUES.iter().map(|(values, said)| ((*values).to_owned(), *said))).collect();
    for some in mistakes.chunks(8) {
        let answers = join_all(some.iter().map(|(values, _)| rendered(values))).await;
        for ((values, said), answer) in some.iter().zip(answers) {
            let answer = answer.expect_err(values);
            assert!(answer.contains(said), "{values}: {said} is not in {answer}");
        }
    }
}

#[test]
fn the_program_refuses_each_mistake_in_its_configuration_too() {
    let taken: Vec<_> = IN_CONFIG
        .iter()
        .map(|(config, _)| (config, problems(&yaml(&format!("{{{config}}}")))))
        .filter(|(_, found)| !found.iter().any(|(_, text)| text.contains("expected")))
        .collect();
    assert_eq!(taken, []);
}

#[tokio::test]
async fn helm_and_the_program_take_what_is_right() {
    for values in RIGHT {
        assert_eq!(rendered(values).await, Ok(()), "{values}");
        let values = yaml(values);
        if values["extraEnv"].is_null() && !values["config"].is_null() {
            assert_eq!(problems(&values["config"]), [], "{values}");
        }
    }
}
