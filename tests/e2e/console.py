"""The web console as a browser without a script sees it: pages, forms, one cookie jar."""

import html.parser
import http.client
import http.cookies
import urllib.parse

from service import KEY, SECRET

VOID = {"area", "br", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Element:
    """An element with its attributes, children and text."""

    def __init__(self, name, attributes):
        self.name, self.attributes = name, {key: value or "" for key, value in attributes}
        self.children = []

    def __getitem__(self, attribute):
        return self.attributes[attribute]

    def get(self, attribute, default=None):
        return self.attributes.get(attribute, default)

    @property
    def text(self):
        """All text below it, white space as a browser shows it."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join(" ".join(parts).split())

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag, /, **attributes):
        """Every element of that name that has these attributes; `data_x` is `data-x`, `class_` one of its classes."""

        def fits(element):
            for key, wanted in attributes.items():
                if key == "class_":
                    if wanted not in element.get("class", "").split():
                        return False
                elif element.get(key.replace("_", "-")) != wanted:
                    return False
            return element.name == tag

        return [element for element in self.walk() if fits(element)]

    def one(self, tag, /, **attributes):
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} <{tag}> with {attributes} in:\n{self.text[:2000]}"
        return found[0]

    def labelled(self, label):
        """Links and buttons that show this text."""
        return [element for element in self.walk() if element.name in ("a", "button") and element.text == label]


class _Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Element("document", [])
        self.open = [self.root]

    def handle_starttag(self, name, attributes):
        element = Element(name, attributes)
        self.open[-1].children.append(element)
        if name not in VOID:
            self.open.append(element)

    def handle_startendtag(self, name, attributes):
        self.open[-1].children.append(Element(name, attributes))

    def handle_endtag(self, name):
        assert self.open[-1].name == name, f"</{name}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parse(text):
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert len(parser.open) == 1, f"not closed: {[element.name for element in parser.open]}"
    return parser.root


class Page:
    """An answer of the console."""

    def __init__(self, status, headers, body, path):
        self.status, self.headers, self.raw, self.path = status, headers, body, path
        self.is_html = headers.get("content-type", "").startswith("text/html")
        self.root = parse(body.decode()) if self.is_html else None

    @property
    def text(self):
        return self.root.text if self.is_html else self.raw.decode()

    @property
    def main(self):
        return self.root.one("main")

    def rows(self):
        """The rows of all tables: a dictionary each, by the labels of its cells."""
        rows = []
        for row in self.root.all("tr"):
            cells = {cell["data-label"]: cell for cell in row.all("td") if cell.get("data-label")}
            if cells:
                rows.append(cells)
        return rows

    def form(self, action=None):
        forms = [form for form in self.main.all("form") if form.get("method") == "post"]
        ways = [f"/console/{way}/{action}" for way in ("do", "each", "preview")]
        forms = [form for form in forms if action is None or form["action"] in ways]
        assert len(forms) == 1, f"{len(forms)} forms for {action} in:\n{self.text[:2000]}"
        return forms[0]


def fields(form):
    """What a browser would send of a form as it is."""
    pairs = []
    for element in form.walk():
        name = element.get("name")
        if not name or element.name not in ("input", "select"):
            continue
        if element.name == "select":
            options = element.all("option")
            chosen = [option for option in options if "selected" in option.attributes] or options[:1]
            pairs += [(name, option.get("value", option.text)) for option in chosen]
        elif element.get("type") in ("checkbox", "radio"):
            if "checked" in element.attributes:
                pairs.append((name, element.get("value", "on")))
        elif element.get("type") != "submit":
            pairs.append((name, element.get("value", "")))
    return pairs


class Browser:
    """Follows redirects, keeps cookies, sends what a browser sends with a form."""

    agent = "a browser"

    def __init__(self, service):
        self.service, self.cookies = service, {}

    def send(self, method, path, pairs=None, headers=(), follow=True):
        connection = http.client.HTTPConnection(self.service.endpoint, timeout=60)
        head = {"User-Agent": self.agent, **dict(headers)}
        if self.cookies:
            head["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if pairs is not None:
            body = urllib.parse.urlencode(pairs)
            head["Content-Type"] = "application/x-www-form-urlencoded"
            head.setdefault("Origin", f"http://{self.service.endpoint}")
        try:
            connection.request(method, path, body, head)
            answer = connection.getresponse()
            for line in answer.headers.get_all("set-cookie") or []:
                for name, morsel in http.cookies.SimpleCookie(line).items():
                    if morsel["max-age"] == "0":
                        self.cookies.pop(name, None)
                    else:
                        self.cookies[name] = morsel.value
            page = Page(answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read(), path)
        finally:
            connection.close()
        if follow and page.status == 303:
            return self.get(page.headers["location"])
        return page

    def get(self, path, **options):
        return self.send("GET", path, **options)

    def post(self, path, pairs, **options):
        return self.send("POST", path, pairs, **options)

    def sign_in(self, name=KEY, secret=SECRET, then="/console"):
        """Through the page, as a person does."""
        page = self.get("/console/sign-in?" + urllib.parse.urlencode({"then": then}))
        (form,) = page.root.all("form")
        return self.submit(page, form, name=name, secret=secret)

    def submit(self, page, form, follow=True, headers=(), **typed):
        """Sends a form with some fields filled in; a value of None leaves a field out."""
        pairs = [(name, value) for name, value in fields(form) if name not in typed]
        pairs += [(name, value) for name, value in typed.items() if value is not None]
        return self.post(form["action"], pairs, follow=follow, headers=headers)

    def open(self, page, label, index=0):
        """Follows the link that shows this text."""
        links = [link for link in page.root.labelled(label) if link.name == "a"]
        assert links, f"no link {label!r} in:\n{page.text[:2000]}"
        return self.get(links[index]["href"])
