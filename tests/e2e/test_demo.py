"""`tidemark up --demo`: the tour runs to its end, every comparison in it holds, and the service is left running."""

from service import Service, wait_until


def test_the_tour(services):
    service = Service(extra=["--demo"])
    services.append(service)
    service.start()

    def told():
        assert service.process.poll() is None, f"the demo ended the service:\n{service.log_tail()}"
        text = (service.directory / "out").read_text() + service.log.read_text(errors="replace")
        assert "differ" not in text.lower(), text
        return "That was the tour" in text and "still running" in text and text

    text = wait_until(told, "the tour ends", 480)
    assert "left out" not in text, text
    for word in ("snapshot", "incremental", "roll", "same", "found"):
        assert word in text.lower(), f"the tour does not speak of {word!r}:\n{text}"
    assert service.get("/healthz")[0] == 200
    service.stop()
