use super::*;

fn reports(findings: Vec<Finding>) -> Vec<Report> {
    vec![Report { subject: "port lan".to_owned(), detail: "af_packet eth0".to_owned(), findings }]
}

#[test]
fn the_exit_code_follows_the_worst() {
    let (ok, doubt) = (Finding::ok("device", "there"), Finding::warning("mtu", "small"));
    let gone = Finding::missing("link", "down", "ip link set dev eth0 up");
    for (findings, codes) in
        [(vec![ok.clone()], (0, 0)), (vec![ok.clone(), doubt.clone()], (0, 3)), (vec![ok, doubt, gone], (1, 1))]
    {
        let reports = reports(findings);
        assert_eq!((code(&reports, false), code(&reports, true)), codes);
    }
}

#[test]
fn people_and_programs_are_told_the_same() {
    let gone = Finding::missing("link", "interface eth0 is down", "ip link set dev eth0 up");
    let reports = reports(vec![Finding::ok("device", "there"), gone]);
    let file = Path::new("office.yaml");
    let wanted = "port lan: af_packet eth0\n\
        \x20 ok       device       there\n\
        \x20 missing  link         interface eth0 is down\n\
        \x20          $ ip link set dev eth0 up\n\
        office.yaml: 1 missing, 0 warnings\n";
    assert_eq!(for_people(file, &reports), wanted);
    let object = for_programs(file, &reports);
    assert_eq!((&object["good"], &object["missing"], &object["warnings"]), (&json!(false), &json!(1), &json!(0)));
    assert_eq!(object["checks"][1]["status"], "missing");
    assert_eq!(object["checks"][1]["command"], "ip link set dev eth0 up");
    assert_eq!(object["checks"][0]["command"], serde_json::Value::Null);
    assert!(!advice(&reports[0]).contains("there"));
}
