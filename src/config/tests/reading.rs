use super::*;
#[test]
fn samples() {
    for f in ["minimal", "lab", "gateway"] {
        let text = std::fs::read_to_string(format!("conf/{f}.yaml")).unwrap();
        let r = check(&text);
        match r {
            Ok(l) => {
                println!("{}", l.diagnostics);
                println!("{}", serde_yaml::to_string(&l.settings).unwrap());
            }
            Err(d) => println!("{d}"),
        }
    }
}
