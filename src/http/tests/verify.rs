//! Verification is ordered, called off and told of: would catch an order that a link can give, and a
//! rate that is not understood as it is meant.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn verification_is_ordered_at_a_rate_and_called_off() {
    let server = start(false).await;
    let none = "{\"status\":\"success\",\"data\":{\"order\":\"0000000000000000\",\"over\":false,\"nodes\":[],\"unseen\":[]}}";
    server.check("/api/v1/status/verify", 200, none).await;
    let id = BlockId(7);
    for (form, rate) in [
        ("", 32 << 20),
        ("rate=1MiB", 1 << 20),
        ("rate=5", 5),
        ("call_off=true", 0),
    ] {
        let got = server.post("/api/v1/admin/verify", form).await;
        let want = format!(
            "{{\"status\":\"success\",\"data\":{{\"order\":\"00000000000000ff\",\"over\":false,\"nodes\":[\
             {{\"node\":\"board-1\",\"stage\":\"waiting\",\"bytes\":0,\"bytesAll\":{rate},\"blocks\":0,\"objects\":0,\
             \"elsewhere\":0,\"waiting\":0,\"faultsAll\":0,\"faults\":[{{\"partition\":\"3-4\",\"block\":\"{id}\",\
             \"start\":0,\"end\":7200000,\"copy\":\"bucket\",\"problem\":\"it is gone\"}}]}},\
             {{\"node\":\"board-2\",\"stage\":\"silent\",\"reason\":\"away\"}}],\"unseen\":[\"a partition\"]}}}}"
        );
        assert_eq!(got.text(), want);
    }
    for form in ["rate=fast", "rate=0", "call_off=perhaps"] {
        let got = server.post("/api/v1/admin/verify", form).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{form}");
    }
    let got = server.get("/api/v1/admin/verify").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
}
