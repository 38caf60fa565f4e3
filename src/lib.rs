//! Watches a cluster, recognises each container start that an OOM kill preceded, and delivers one
//! finding for it. An event pipeline: **source -> filter -> fan-out -> sinks**; each stage knows
//! only its neighbour's type, and [`pipeline`] is the one place that knows all of them.
//!
//! # Bounds
//!
//! Whatever others write is taken in, kept and shown within bounds:
//!
//! | what | bound | in | beyond it |
//! |---|---|---|---|
//! | a page of a list | `PAGE_TIMEOUT = Duration::from_secs(50)` | `src/source/items/mod.rs` | it is asked for again with fewer objects |
//! | what of a page is no object | `MAX_ENVELOPE_BYTES = 64 * 1024` | `src/source/items/mod.rs` | it is no list |
//! | an object in a list, a message of a watch, and what is held of all of them together | `MAX_PART_BYTES = 16 * 1024 * 1024` and `FREE_BYTES = 64 * 1024` for each | `src/source/answer.rs` | the object is passed over; the watch ends, and a list follows; the others wait |
//! | a watch | `WATCH_LIFETIME_SECONDS = 40..=50` | `src/source/watch.rs` | another one follows |
//! | answers that are of no use | `MAX_USELESS_ANSWERS = 5` | `src/source/setbacks.rs` | a list follows |
//! | the pause that the API server asks for | `MAX_RETRY_AFTER = Duration::from_mins(10)` | `src/source/backoff.rs` | it is asked earlier |
//! | a name of an object | `MAX_NAME_BYTES = 253` | `src/source/objects/text.rs` | it is cut, and ends in `…` |
//! | a reference to an image | `MAX_IMAGE_BYTES = 512` | `src/source/objects/text.rs` | it is cut, and ends in `…` |
//! | observations on their way to the filter | `MAX_WAITING_OBSERVATIONS = 64` | `src/source/outlet.rs` | the source waits |
//! | kills of Pods that are gone | `MAX_DEPARTED_KILLS = 4096` | `src/filter/past.rs` | the oldest is forgotten |
//! | kills of a group that a message names | `MAX_NAMED = 200` | `sinks/src/slack.rs` | they are counted, with their Pods and the last kill |
//! | Pods of the kills that are only counted | `MAX_COUNTED_PODS = 16 * 1024` | `src/fanout/queue.rs` | the number of Pods is a least number |
//! | how long a list waits for the sinks | `MAX_LIST_WAIT = Duration::from_mins(4)`, `STUCK_AFTER = Duration::from_mins(1)` | `src/pipeline/backlog.rs`, `src/fanout/queue.rs` | findings are dropped, and logged whole |
//! | starts that Events tell of | `BUCKETS = 1024` of four each | `src/filter/starts.rs` | an older one is forgotten |
//! | the pause that a sink asks for | `MAX_RETRY_AFTER = Duration::from_hours(24)` | `src/fanout/courier.rs` | it is called earlier |
//! | findings that wait for a sink | `MAX_CAPACITY = 1_000_000` and `queue_capacity` | `src/config/mod.rs` | a finding is dropped, and logged whole |
//! | the memory of those that wait | `MAX_QUEUED_BYTES = 8 << 20` | `src/fanout/queue.rs` | the same; each of several sinks has half of it |
//! | an error that the API server answers with | `MAX_BODY_BYTES = 16 * 1024`, `BODY_TIMEOUT = Duration::from_secs(30)` | `cluster/src/refusal.rs` | only its status counts |
//! | the beginning of an answer of the API server | `ANSWER_TIMEOUT = Duration::from_secs(30)` | `cluster/src/lib.rs` | the request has failed |
//! | what is read at a time of a connection to it | `MAX_BUFFER_BYTES = 32 * 1024` | `cluster/src/transport.rs` | the rest is read later |
//! | what a credential plugin prints | `MAX_OUTPUT_BYTES = 1024 * 1024`, `RUN_TIMEOUT = Duration::from_mins(1)` | `cluster/src/plugin/process.rs`, `cluster/src/plugin.rs` | it has failed, and is ended |
//! | an answer of Slack | `MAX_WORD_BYTES = 64`, `REQUEST_TIMEOUT = Duration::from_secs(10)` | `sinks/src/slack/webhook.rs`, `sinks/src/slack.rs` | it is none of Slack's |
//! | a name in a message to Slack | `MAX_NAME_BYTES = 253` | `sinks/src/slack/mrkdwn.rs` | it is cut, and ends in `…` |
//! | a message to Slack | `MAX_SECTION_BYTES = 3_000`, `MAX_MESSAGE_BYTES = 12_000` | `sinks/src/slack/message.rs` | it is several messages |
//! | the name of an Event | `MAX_NAME_CHARS = 253` | `finding/src/event.rs` | the Pod's name in it is cut |
//! | series of `kills_total` | `MAX_SERIES_PER_NAMESPACE = 500`, `KEPT_FOR = Duration::from_hours(2)` | `src/metrics/kills.rs` | the namespace's oldest is forgotten |
//! | a label of them | `MAX_LABEL_BYTES = 253` | `src/metrics/kills.rs` | it is cut |
//! | connections to the HTTP endpoint | `MAX_CONNECTIONS = 128`, `CONNECTION_LIFETIME = Duration::from_secs(10)` | `src/server/mod.rs` | the oldest is closed |
//! | those that wait to be accepted | `MAX_QUEUED_CONNECTIONS = 4096` | `src/server/listen.rs` | the system makes them ask again |
//! | the head of a request | `MAX_HEAD_BYTES = 8 * 1024`, `HEAD_TIMEOUT = Duration::from_secs(2)` | `src/server/mod.rs` | the connection is closed |
//! | what the system holds of a request and an answer | `RECEIVE_BUFFER_BYTES = 8 * 1024`, `SEND_BUFFER_BYTES = 16 * 1024` | `src/server/listen.rs` | the other side waits |
//! | text of others in an error or the log | `MAX_SHOWN_CHARS = 500` | `untrusted/src/clean.rs` | it is cut, and ends in `…` |
//! | an object of a recording, and lists within lists | `MAX_OBJECT_BYTES = 16 * 1024 * 1024`, `MAX_OPEN_LISTS = 16` | `src/source/recording/values.rs` | the recording can't be read further |
//! | kinds of objects that are named of a recording | `MAX_KINDS = 3` | `src/source/recording/contents.rs` | the rest is not named |
//! | what an error shows of a recording | `MAX_SHOWN_BYTES = 20` | `src/source/recording/values.rs` | it is cut |
//! | what an error shows of the configuration | `MAX_QUOTED_CHARS = 60` | `settings/src/words.rs` | it is cut, and ends in `…` |
//! | own Events of one namespace that are read | `MAX_READ_PER_NAMESPACE = 8 * 1024` | `src/source/read_back.rs` | kills of that namespace may be told again |
//! | how long own Events are read | `MAX_LIST_TIME = Duration::from_mins(1)`, `MAX_READ_BACK_TIME = Duration::from_mins(2)` | `src/source/read_back.rs` | namespaces are read one by one; then kills are judged with what is known |
//! | an annotation of an own Event | `MAX_FINDING_BYTES = 16 * 1024`, `MAX_OWED_BYTES = 4 * 1024`, `MAX_OWED_SINKS = 64` | `src/source/own_events.rs` | it is passed over |
//! | a string of a finding in it | `MAX_TEXT_BYTES = 4 * 1024` | `finding/src/text.rs` | the finding is passed over |
//! | names of a Pod's volumes | `MAX_VOLUMES = 64` | `src/source/objects/volumes.rs` | the rest is passed over |
//! | own Events that are remembered | `MAX_REPORTED_EVENTS = 64 * 1024`, `MAX_EVENTS_PER_NAMESPACE = 8 * 1024` | `src/filter/reported.rs` | the largest namespaces lose theirs |
//! | mirror pods that were deleted | `MAX_MIRRORS = 1024` | `src/filter/past.rs` | the oldest is forgotten |
//! | mirror pods that are kept after they were deleted | `MAX_ORPHANS = 64` | `src/filter/pods.rs` | the oldest is forgotten |
//! | nodes that ran out of memory | `MAX_NODE_OOMS = 1024` | `src/filter/nodes.rs` | the oldest is forgotten |
//! | incidents | `MAX_INCIDENTS = 2048`, `MAX_KILLED_PODS = 128`, `MAX_INSTANCES = 4`, `MAX_LIMITS = 8`, `MAX_RECENT = 200` | `src/incidents/mod.rs`, `src/incidents/running.rs`, `src/incidents/running.rs`, `src/incidents/limits.rs`, `src/incidents/day.rs` | the oldest is forgotten |
//! | findings that are known to the ledger | `MAX_KNOWN = 16 * 1024`, `MAX_RECOVERED_PER_NAMESPACE = 8 * 1024` | `src/fanout/ledger/known.rs` | the rest is not recovered |
//! | Pods of a group that are told apart | `MAX_NAMED_PODS = 200` | `src/fanout/rhythm.rs` | further ones are no news |
//! | an answer about a right or the Lease | `MAX_ANSWER_BYTES = 64 * 1024`, `MAX_REFUSALS = 10` | `cluster/src/lib.rs`, `src/pipeline/rights.rs` | the right is unknown, or the request has failed |
//! | the list of `scan` | `MAX_FAILURES = 4` | `src/source/pod_list.rs` | it has failed |
//! | findings that a standby keeps | `MAX_KEPT_FINDINGS = 2048` | `src/pipeline/standby.rs` | the namespace that has most loses its oldest |
//! | how long a new leader reads own Events | `MAX_CATCH_UP_TIME = Duration::from_mins(1)` | `src/pipeline/duty.rs` | it delivers, and some findings may be told twice |
//! | an answer of a receiver | `MAX_ANSWER_BYTES = 4096`, `MAX_SHOWN_CHARS = 200` | `sinks/src/receiver/client.rs`, `sinks/src/receiver/mask.rs` | the rest is not read |
//! | a request of a webhook | `MAX_BATCH = 200`, `MAX_BODY_BYTES = 1 << 20`, `MAX_FUEL = 200_000` | `sinks/src/webhook.rs`, `sinks/src/webhook/body.rs` | it is refused when the program starts, or the finding is |
//! | alerts that are sent again | `MAX_ACTIVE_ALERTS = 1024` | `sinks/src/alertmanager/active.rs` | the oldest is not sent again |
//! | parts of a message to Slack | `MAX_PROSE_BYTES = 700`, `MAX_COMMAND_BYTES = 700`, `MAX_LINK_BYTES = 1_000`, `MAX_EXPLAINED_WORKLOADS = 10` | `sinks/src/slack/mrkdwn.rs`, `sinks/src/slack/mrkdwn.rs`, `sinks/src/slack/link.rs`, `sinks/src/slack/message.rs` | they are cut, or left out |
//! | series of `node_oom_total` | `MAX_NODES = 1000`, `MAX_LABEL_BYTES = 253` | `src/metrics/nodes.rs` | the oldest is forgotten; a label is cut |
//! | the page | `MAX_SHOWN_INCIDENTS = 200`, `MAX_INCIDENTS_BYTES = 512 * 1024`, `MAX_SHOWN_REASONS = 20` | `src/page/mod.rs` | the rest is a count |
//! | a secret in a file | `MAX_SECRET_BYTES = 64 * 1024` | `settings/src/secret.rs` | it is an error |

pub mod check;
pub mod cli;
pub mod config;
pub mod fanout;
pub mod filter;
pub mod health;
pub mod incidents;
pub mod leadership;
pub mod logging;
pub mod metrics;
pub mod page;
pub mod pipeline;
pub mod replay;
pub mod scan;
pub mod server;
pub mod source;
pub mod stop;
pub mod table;
