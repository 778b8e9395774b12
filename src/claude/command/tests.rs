use super::*;

fn prompt(tools: BuiltInTools) -> Prompt {
    Prompt {
        system: "SECRET SYSTEM".to_owned(),
        tools,
        ..Prompt::sample()
    }
}

#[track_caller]
fn check(user: User, mode: PermissionMode, expect: &str) {
    let program = Program {
        path: "/bin/claude".into(),
        kind: Kind::ClaudeCode,
    };
    let place = Place {
        working_dir: "/w".into(),
        config_dir: None,
        skills_plugin: Some("/p".into()),
    };
    let recipe = Recipe {
        program: &program,
        permission_mode: mode,
        user,
        effort: Some(Effort::Low),
        place: &place,
        base_env: &[],
        tenant_env: &[],
    };
    let launch = launch(&recipe, &prompt(BuiltInTools::On));
    let line = launch
        .args
        .join(&OsString::from(" "))
        .into_string()
        .unwrap();
    let rest = line.split_once("--plugin-dir /p ").unwrap().1;
    assert_eq!(rest, expect);
    assert!(line.contains("--model sonnet --effort low"));
    assert!(!line.contains("SECRET"));
}

#[test]
fn full_permissions_are_an_allow_list_where_the_cli_refuses_the_flag() {
    let list = format!(
        "--permission-mode dontAsk --allowedTools {}",
        TOOLS.join(" ")
    );
    let bypass = PermissionMode::BypassPermissions;
    check(User::Ordinary, bypass, "--dangerously-skip-permissions");
    check(User::Root, bypass, &list);
    check(
        User::Root,
        PermissionMode::AcceptEdits,
        "--permission-mode acceptEdits",
    );
}

#[test]
fn extra_body_holds_what_the_api_takes_and_the_tenants_own() {
    let parameters = Parameters {
        stop_sequences: vec!["END".to_owned(), "\n\n".to_owned()],
        sampling: Sampling {
            temperature: Some(0.5),
            ..Sampling::default()
        },
        ..Parameters::default()
    };
    let check = |own: Option<&str>, expect: &str| {
        let body = extra_body(&parameters, own.map(OsStr::new)).unwrap();
        assert_eq!(body, expect);
    };
    check(None, r#"{"stop_sequences":["END"],"temperature":0.5}"#);
    check(
        Some("no json"),
        r#"{"stop_sequences":["END"],"temperature":0.5}"#,
    );
    check(
        Some(r#"{"temperature":0.1,"x":[1]}"#),
        r#"{"stop_sequences":["END"],"temperature":0.1,"x":[1]}"#,
    );
    assert_eq!(
        extra_body(&Parameters::default(), Some(OsStr::new("{\"x\":1}"))),
        None
    );
}

#[test]
fn tenant_environment_wins_and_the_daemon_keeps_its_secrets() {
    let get = |name: &str| match name {
        "HOME" => Some("/home/u".into()),
        "ANTHROPIC_API_KEY" => Some("gateway-secret".into()),
        _ => None,
    };
    let base = base_environment(get, Path::new("/state"));
    let program = Program {
        path: "/bin/claude".into(),
        kind: Kind::ClaudeCode,
    };
    let place = Place {
        working_dir: "/w".into(),
        config_dir: Some("/c".into()),
        skills_plugin: None,
    };
    let tenant = [
        ("CLAUDE_CODE_MAX_RETRIES".into(), "5".into()),
        ("A".into(), "b".into()),
    ];
    let recipe = Recipe {
        program: &program,
        permission_mode: PermissionMode::DontAsk,
        user: User::Root,
        effort: None,
        place: &place,
        base_env: &base,
        tenant_env: &tenant,
    };
    let env = launch(&recipe, &prompt(BuiltInTools::Off)).env;
    let get = |name: &str| {
        let mut all = env
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value);
        let first = all.next().map(|value| value.to_str().unwrap());
        assert_eq!(all.next(), None, "{name} twice");
        first
    };
    assert_eq!(get("CLAUDE_CODE_MAX_RETRIES"), Some("5"));
    assert_eq!(get("HOME"), Some("/home/u"));
    assert_eq!(get("CLAUDE_CONFIG_DIR"), Some("/c"));
    assert_eq!(get("LANG"), Some("C.UTF-8"));
    assert_eq!(get("A"), Some("b"));
    assert_eq!(get("ANTHROPIC_API_KEY"), None);
}
