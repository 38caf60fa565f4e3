use std::{fs, path::Path};

use tokio::{
    task::yield_now,
    time::{sleep, sleep_until},
};

use super::*;

/// Returns a plugin that is a shell script.
fn plugin(script: &str) -> Plugin {
    Plugin::new(PluginCommand {
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: Vec::new(),
        api_version: "v1".to_owned(),
        info: "{}".to_owned(),
        install_hint: None,
    })
}

/// Returns a script that prints a token, and when it ends.
fn prints(token: &str, expires: Option<Timestamp>) -> String {
    let expires = expires.map(|expires| format!(r#","expirationTimestamp":"{expires}""#)).unwrap_or_default();
    format!(r#"echo '{{"apiVersion":"v1","status":{{"token":"{token}"{expires}}}}}'"#)
}

/// Returns a script that counts its runs in a file, and then does this.
fn counted(file: &Path, script: &str) -> String {
    format!("echo >> {}; {script}", file.display())
}

fn runs(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

fn header(granted: &Granted) -> &str {
    granted.authorization.as_ref().unwrap().to_str().unwrap()
}

#[tokio::test]
async fn one_runs_for_all_who_ask_and_its_token_is_kept() {
    let _alone = PROCESSES.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs");
    let plugin = plugin(&counted(&file, &format!("sleep 0.1; {}", prints("secret", None))));
    let (one, another) = tokio::join!(plugin.get(), plugin.get());
    for granted in [one, another, plugin.get().await] {
        assert_eq!(header(&granted.unwrap()), "Bearer secret");
    }
    assert_eq!(runs(&file), 1);
}

#[tokio::test]
async fn a_plugin_goes_on_when_nobody_waits_for_it_any_more() {
    let _alone = PROCESSES.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs");
    let plugin = plugin(&counted(&file, &format!("sleep 0.3; {}", prints("secret", None))));
    assert!(timeout(Duration::from_millis(100), plugin.get()).await.is_err());
    assert_eq!(header(&plugin.get().await.unwrap()), "Bearer secret");
    assert_eq!(runs(&file), 1);
}

/// The clock stands still while there is something to do, and then goes on to the next moment that is waited
/// for.
#[tokio::test(start_paused = true)]
async fn a_plugin_that_hangs_is_ended_after_a_minute_with_all_that_it_started() {
    let _alone = PROCESSES.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let script = format!("sleep 600 & echo $! >> {0}; echo $$ >> {0}; sleep 600", file.display());
    let plugin = Arc::new(plugin(&script));
    let begun = Instant::now();
    let asked = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { plugin.get().await }
    });
    while runs(&file) < 2 {
        yield_now().await;
    }
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(begun.elapsed(), REQUEST_PATIENCE);
    assert!(error.to_string().contains("takes too long"), "{error}");
    let pids = fs::read_to_string(&file).unwrap();
    assert!(pids.lines().all(lives), "{pids}");
    sleep_until(begun + RUN_TIMEOUT).await;
    while pids.lines().any(lives) {
        yield_now().await;
    }
    assert!(plugin.get().await.unwrap_err().to_string().contains("takes too long"));
    assert_eq!(runs(&file), 2, "it is run again at once");
}

/// Returns whether a process is there, and not only its status for who started it.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_plugin_that_nobody_needs_any_more_is_ended() {
    let _alone = PROCESSES.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let plugin = plugin(&format!("echo $$ >> {}; exec sleep 600", file.display()));
    let mut asked = Box::pin(plugin.get());
    while runs(&file) < 1 {
        assert!(timeout(Duration::from_millis(1), &mut asked).await.is_err());
    }
    drop(asked);
    drop(plugin);
    let pid = fs::read_to_string(&file).unwrap();
    while lives(pid.trim()) {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn after_a_failure_the_plugin_is_left_alone_for_a_while() {
    let _alone = PROCESSES.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs");
    let plugin = plugin(&counted(&file, "exit 3"));
    for _ in 0..3 {
        assert!(plugin.get().await.unwrap_err().to_string().contains("exit status: 3"));
    }
    assert_eq!(runs(&file), 1);
}

#[test]
fn when_a_plugin_is_run_again() {
    let (start, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let ends_in = |seconds| Ok(Some(wall + SignedDuration::from_secs(seconds)));
    for (result, is_refused, age, is_stale) in [
        (Ok(None), false, Duration::from_hours(24), false),
        (Ok(None), true, RUN_INTERVAL, true),
        (Ok(None), true, RUN_INTERVAL / 2, false),
        (ends_in(61), false, RUN_INTERVAL, false),
        (ends_in(59), false, RUN_INTERVAL, true),
        (ends_in(-1), false, RUN_INTERVAL / 2, false),
        (Err(()), false, RUN_INTERVAL / 2, false),
        (Err(()), false, RUN_INTERVAL, true),
    ] {
        let said = format!("{result:?} {is_refused} {age:?}");
        let result = result
            .map(|expires| PluginGrant { granted: Granted::default(), expires })
            .map_err(|()| Arc::new(PluginError::Hangs { program: String::new() }));
        let run = PluginRun { result, at: start };
        assert_eq!(run.is_stale(is_refused, start + age, wall), is_stale, "{said}");
    }
}

#[tokio::test]
async fn what_a_plugin_says_of_its_failure_is_withheld() {
    let _alone = PROCESSES.lock().await;
    for (script, said) in [
        ("echo secret; echo secret >&2; exit 3", "failed (exit status: 3)"),
        ("kill -9 $$ # secret", "failed (signal: 9"),
        ("echo secret", "no ExecCredential"),
        (r#"echo '{"apiVersion":"v2","status":{"token":"secret"}}'"#, "another apiVersion"),
        (
            r#"printf %s '{"apiVersion":"v1","status":{"token":"sec\nret secret"}}'"#,
            "its token can't be used",
        ),
        (r#"echo '{"apiVersion":"v1","status":{"clientKeyData":"secret"}}'"#, "neither a token nor"),
        (
            r#"echo '{"apiVersion":"v1","status":{"token":"secret","expirationTimestamp":"secret"}}'"#,
            "expirationTimestamp is not a time",
        ),
        ("head -c 2000000 /dev/zero", "more than 1048576 bytes"),
    ] {
        let error = plugin(script).get().await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(said) && !shown.contains("secret"), "{script}: {shown}");
    }
}

#[tokio::test]
async fn a_plugin_that_can_not_be_run_is_told_with_how_to_install_it() {
    let _alone = PROCESSES.lock().await;
    let command = PluginCommand {
        program: "no-such-plugin".to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
        api_version: "v1".to_owned(),
        info: "{}".to_owned(),
        install_hint: Some("brew install it".to_owned()),
    };
    let error = Plugin::new(command).get().await.unwrap_err().to_string();
    assert!(error.contains("no-such-plugin") && error.contains("brew install it"), "{error}");
}
