// Asks for a URL with ureq (rustls) and the key that stands in the environment: ask-rust URL VARIABLE. Prints status and body.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let key = std::env::var(&args[2]).expect("the variable is not set");
    match ureq::get(&args[1]).set("Authorization", &format!("Bearer {}", key)).call() {
        Ok(answer) | Err(ureq::Error::Status(_, answer)) => {
            println!("{} {}", answer.status(), answer.into_string().expect("the body"));
        }
        Err(e) => {
            eprintln!("{}", e);
            std::process::exit(1);
        }
    }
}
