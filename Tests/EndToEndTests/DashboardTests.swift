// The dashboard in a real browser, on a real server with workers: what people do with it, from the sign-in on.
import Client
import Contract
import Foundation
import Testing

@Suite(
  .serialized,
  .enabled(
    if: Browser.isThere,
    "needs chromium and chromedriver (packages chromium, chromium-driver); scripts/test installs them")
)
struct DashboardTests {
  private func dataset(_ server: TestServer) throws -> JSON {
    let made = try Executable.run([
      "dataset", "add", server.folder.write("flowers.csv", SampleData.csv(rows: 600)), "--json", "--data",
      server.data.path,
    ])
    return try #require(made.json()["id"])
  }

  private func submit(_ server: TestServer, _ dataset: JSON, name: String, steps: Int, optimizer: String = "adam")
    throws
    -> String
  {
    let job = try server.client().createJob([
      "dataset": dataset, "name": .string(name), "steps": .integer(steps), "optimizer": ["name": .string(optimizer)],
      "model": ["preset": "mlp", "hidden": [16]], "evaluate_every": .integer(min(max(steps / 10, 20), 1000)),
      "batch_size": 32,
    ])
    return try #require(job["id"]?.string)
  }

  private func signedIn(_ server: TestServer, at page: String = "#/jobs", width: Int = 1280) throws -> Browser {
    let browser = try Browser(width: width)
    try browser.open(try #require(URL(string: "/\(page)", relativeTo: server.url)))
    try browser.wait("document.querySelector('#key')")
    try browser.type(server.adminKey + Browser.enter, into: "#key")
    try browser.wait("!document.querySelector('#navigation').hidden")
    return browser
  }

  private func go(_ browser: Browser, _ page: String, until expression: String) throws {
    try browser.run("location.hash = arguments[0]", .string(page))
    try browser.wait(expression)
  }

  /// Nothing went wrong in the page that its console would tell, but for an answer that the test provoked.
  private func expectQuiet(
    _ browser: Browser, but status: Int? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let complaints = try browser.complaints(but: status)
    #expect(complaints.isEmpty, "\(complaints)", sourceLocation: sourceLocation)
  }

  /// What a chart's canvases show, as text that differs when they do.
  private static let drawing =
    "[...document.querySelectorAll('.plot canvas')].map((canvas) => canvas.toDataURL()).join()"

  @Test("signing in: a wrong key is refused in words, the right one opens the list, and no trace of it is kept")
  func signIn() throws {
    let server = try TestServer(workers: 0)
    let browser = try Browser()
    try browser.open(server.url)
    try browser.wait("document.querySelector('#key')")
    #expect(try browser.run("return document.querySelector('#navigation').hidden") == true)
    try browser.type("ty_wrongwrongwrongwrongwrongwrongwr" + Browser.enter, into: "#key")
    try browser.wait("document.querySelector('.problem')?.innerText.includes('unknown, expired or revoked')")
    try expectQuiet(browser, but: 401)

    let key = try server.adminKey
    try browser.run("document.querySelector('#key').value = ''")
    try browser.type(key + Browser.enter, into: "#key")
    try browser.wait("document.querySelector('.empty')?.innerText.startsWith('No jobs yet')")
    let kept = try browser.run(
      """
      const stored = [localStorage, sessionStorage].map((store) => JSON.stringify({ ...store })).join();
      return stored + document.cookie + location.href + document.documentElement.outerHTML
        + JSON.stringify(history.state);
      """)
    #expect(kept.string?.contains(key) == false)
    #expect(try browser.run("return document.cookie + localStorage.length + sessionStorage.length") == "00")
    #expect(try browser.run("return indexedDB.databases().then((all) => all.length)") == 0)
    try expectQuiet(browser)

    try browser.reload()
    try browser.wait("document.querySelector('#key')")
    #expect(try browser.run("return document.querySelector('#key').value") == "")
    try browser.type(key + Browser.enter, into: "#key")
    try browser.wait("document.querySelector('main h1')?.innerText === 'Jobs'")
    // Revoked while it is in use: the page says so and asks again.
    let client = try server.client()
    let id = try #require(client.keys().first?["id"]?.string)
    _ = try client.revokeKey(id)
    try browser.wait("document.querySelector('.sign-in')?.innerText.includes('no longer takes this key')")
    try expectQuiet(browser, but: 401)
  }

  @Test("a job's curve grows while it trains, the controls change the drawing, and cancelling is asked twice")
  func job() throws {
    let server = try TestServer()
    let id = try submit(server, dataset(server), name: "long", steps: 50_000_000)
    let browser = try signedIn(server)
    try browser.wait("document.querySelector('tbody .state[data-state=running]')")
    try browser.click("tbody a")
    try browser.wait("location.hash === '#/jobs/\(id)' && document.querySelector('.plot canvas')")
    try browser.wait("Number(document.querySelector('.plot').dataset.points) > 20")
    let place = "Number(document.querySelector('.place').innerText.replace(/\\D/g, ''))"
    let first = try #require(browser.run("return \(place)").integer)
    try browser.wait("\(place) > \(first)")
    let coloured = try browser.run(
      """
      return [...document.querySelectorAll('.plot canvas')].some((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value, index) => index % 4 === 3 && value > 0);
      });
      """)
    #expect(coloured == true, "something is drawn")
    try browser.wait("document.querySelectorAll('.legend li').length >= 2")
    try browser.wait("document.querySelector('section[aria-label=Events] tbody tr')")

    try browser.click("button[data-action=pause]")
    try browser.wait("document.querySelector('.summary .state[data-state=paused]')")
    #expect(try server.client().job(id)["state"] == "paused")
    try browser.click("button[data-action=resume]")
    try browser.wait("document.querySelector('.summary .state[data-state=running]')")

    try browser.click("button[data-action=cancel]")
    try browser.wait("document.querySelector('dialog[open]')")
    try browser.click("dialog button[autofocus]")
    try browser.wait("!document.querySelector('dialog')")
    #expect(try server.client().job(id)["state"] == "running", "no is no")
    try browser.click("button[data-action=cancel]")
    try browser.click("dialog button.danger")
    try browser.wait("document.querySelector('.summary .state[data-state=cancelled]')")
    #expect(try browser.run("return document.querySelectorAll('button[data-action]').length") == 0)
    #expect(try server.client().job(id)["state"] == "cancelled")
    try browser.wait("document.querySelector('#status').innerText.includes('cancelled')")

    // Nothing moves any more: what differs now differs by the controls.
    try browser.wait("document.querySelector('section[aria-label=Events] tbody').innerText.includes('cancelled')")
    usleep(1_500_000)
    let plain = try browser.run("return \(Self.drawing)")
    #expect(try browser.run("return \(Self.drawing)") == plain)
    try browser.click(".tools input[type=checkbox]")
    try browser.wait("\(Self.drawing) !== \(plain.text)")
    let logarithmic = try browser.run("return \(Self.drawing)")
    try browser.run(
      """
      const slider = document.querySelector('input[type=range]');
      slider.value = '0.94';
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      """)
    try browser.wait("\(Self.drawing) !== \(logarithmic.text)")
    #expect(try browser.run("return document.querySelector('.slider output').innerText") == "0.94")
    // By the keyboard: a value is read, and a part is looked at closer.
    try browser.run("document.querySelector('.plot').focus()")
    try browser.press("\u{E011}")
    try browser.wait("document.querySelector('.place').innerText === 'step 0'")
    try browser.press("+")
    try browser.wait("!document.querySelector('.chart figcaption button').hidden")
    try browser.press("0")
    try browser.wait("document.querySelector('.chart figcaption button').hidden")
    try expectQuiet(browser)
  }

  @Test("five jobs are compared, hostile names are text, and workers and optimizers are shown")
  func compareAndLook() throws {
    let server = try TestServer()
    let dataset = try dataset(server)
    let hostile = [
      "<img src=x onerror=\"window.hacked = 1\">", "\"><script>window.hacked = 2</script>",
      "javascript:window.hacked=3", "{{constructor.constructor('window.hacked=4')()}}",
      "<svg onload=window.hacked=5> \u{202E}gnirts",
    ]
    let ids = try hostile.map { try submit(server, dataset, name: $0, steps: 200) }
    for id in ids {
      #expect(try eventually(seconds: 120) { try server.client().job(id)["state"] == "succeeded" }, "\(server.log)")
    }
    let browser = try signedIn(server)
    try browser.wait("document.querySelectorAll('tbody tr').length === 5")
    for number in 1...5 { try browser.click("tbody tr:nth-child(\(number)) input[type=checkbox]") }
    try browser.wait("document.querySelector('a.button').innerText === 'Compare 5'")
    let names = try browser.run(
      "return [...document.querySelectorAll('tbody td.main a')].map((link) => link.firstChild.textContent)")
    #expect(names.array == hostile.reversed().map(JSON.string))
    try browser.click("a.button")
    try browser.wait(
      "document.querySelectorAll('.legend li').length === 5 && document.querySelector('.plot canvas')")
    try browser.wait("Number(document.querySelector('.plot').dataset.points) >= 200")
    #expect(try browser.run("return document.querySelectorAll('tbody tr').length") == 5)
    let drawn = try browser.run("return \(Self.drawing)")
    try browser.run(
      """
      const choice = document.querySelector('#measure');
      choice.value = 'held_out_accuracy';
      choice.dispatchEvent(new Event('change', { bubbles: true }));
      """)
    try browser.wait("\(Self.drawing) !== \(drawn.text)")
    for id in ids {
      try go(browser, "#/jobs/\(id)", until: "document.querySelector('.plot canvas') && document.title !== 'Job'")
    }
    #expect(
      try browser.run(
        "return window.hacked === undefined && document.querySelector('main img, main svg, main script') === null")
        == true)

    try go(browser, "#/workers", until: "document.querySelector('main h1').innerText === 'Workers'")
    try browser.wait("document.querySelector('tbody td[data-title=\"CPU level\"]')?.innerText.length > 2")
    try go(browser, "#/optimizers", until: "document.querySelector('tbody .state[data-state=released]')")
    try browser.click("tbody details summary")
    try browser.wait("document.querySelector('.provenance').innerText.length > 20")
    try go(
      browser, "#/jobs?state=failed", until: "document.querySelector('.empty')?.innerText === 'No jobs are failed.'")
    try expectQuiet(browser)

    try go(browser, "#/jobs/job_00000000000000000000000000", until: "document.querySelector('.problem')")
    #expect(
      try browser.run("return document.querySelector('.problem').innerText.includes('there is no job')") == true)
    try expectQuiet(browser, but: 404)
  }

  @Test("a campaign shows its outer steps, phases and evaluations, and an evaluation its profile")
  func campaign() throws {
    let server = try TestServer()
    let file = """
      name: small
      optimizer: small_fc
      seed: 1
      evaluation:
        every_outer_steps: 20
        spec:
          name: on the way
          optimizers: [{name: adam, learning_rate: 0.003}]
          tasks: [{config: {obj: Quadratic, args: {dimensions: 4}}}]
          baseline: {name: adam, learning_rate: 0.01}
          steps: [20]
          seeds: 2
      phases:
        - {name: first, estimator: {kind: nres, pairs: 2, window: 5}, lengths: [10, 10], outer_steps: 12,
           tasks: [{config: {obj: Quadratic, args: {dimensions: 4}}}]}
        - {name: second, estimator: {kind: pes, pairs: 2, window: 5}, lengths: [10, 10], outer_steps: 8,
           tasks: [{config: {obj: Quadratic, args: {dimensions: 4}}}]}
      """
    let made = try server.command(
      "campaign", "create", "-f", server.folder.write("small.yaml", file.utf8), "--json")
    #expect(made.status == 0, "\(made)")
    let id = try #require(made.json()["id"]?.string)
    let browser = try signedIn(server, at: "#/campaigns")
    try browser.wait("document.querySelector('tbody a')")
    try browser.click("tbody a")
    try browser.wait("location.hash === '#/campaigns/\(id)'")
    try browser.wait("document.querySelector('.summary .state[data-state=succeeded]')", seconds: 120)
    try browser.wait("document.querySelector('.plot').dataset.points === '20'")
    try browser.wait("document.querySelectorAll('section[aria-label=Phases] tbody tr').length === 2")
    try browser.wait("document.querySelector('.lineage').innerText.includes('drawn at random')")
    let drawn = try browser.run("return \(Self.drawing)")
    try browser.run(
      """
      const choice = document.querySelector('#measure');
      choice.value = 'update_norm';
      choice.dispatchEvent(new Event('change', { bubbles: true }));
      """)
    try browser.wait("\(Self.drawing) !== \(drawn.text)")

    try go(browser, "#/evaluations", until: "document.querySelector('tbody .state[data-state=succeeded]')")
    try browser.click("tbody a")
    try browser.wait("document.querySelectorAll('section[aria-label=Results] tbody tr').length >= 2")
    try browser.wait("document.querySelector('section[aria-label=\"Performance profile\"] canvas')")
    try go(
      browser, "#/campaigns/\(id)",
      until: "document.querySelector('section[aria-label=Evaluations] tbody .state[data-state=succeeded]')")
    try expectQuiet(browser)
  }

  @Test("the Tab key reaches the controls in order, visibly, and 360 pixels are wide enough")
  func narrowAndByKeyboard() throws {
    let server = try TestServer()
    let id = try submit(
      server, dataset(server), name: "a-name-without-any-place-to-break-a-line-" + String(repeating: "x", count: 120),
      steps: 300)
    let browser = try signedIn(server, width: 360)
    try browser.wait("document.querySelector('tbody .state[data-state=succeeded]')")
    let order = """
      const at = document.activeElement;
      const style = getComputedStyle(at);
      return [(at.getAttribute('aria-label') ?? at.innerText ?? '').trim().split('\\n')[0] || at.id,
        style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
      """
    try browser.run("document.querySelector('#skip').focus()")
    var reached: [String] = []
    for step in 0..<12 {
      if step > 0 { try browser.press(Browser.tab) }
      let at = try browser.run(order).array ?? []
      reached.append(at.first?.string ?? "")
      #expect(at.last == true, "the focus is seen on \(reached.last ?? "")")
    }
    let expected = [
      "Skip to the content", "Trainyard", "Jobs", "Compare", "Campaigns", "Evaluations", "Optimizers", "Workers",
      "Sign out", "state",
    ]
    #expect(reached.prefix(expected.count).map { $0.hasPrefix("all") ? "state" : $0 } == expected, "\(reached)")
    #expect(reached.dropFirst(expected.count).first?.hasPrefix("Compare a-name") == true, "\(reached)")
    #expect(reached.last?.hasPrefix("a-name") == true, "\(reached)")
    try browser.press(Browser.enter)
    try browser.wait("location.hash === '#/jobs/\(id)' && document.querySelector('.plot canvas')")
    try browser.run("document.querySelector('#skip').focus()")
    try browser.press(Browser.enter)
    #expect(try browser.run("return document.activeElement.id + location.hash") == .string("main#/jobs/\(id)"))

    let wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    #expect(try browser.run("return innerWidth") == 360)
    for page in [
      "#/jobs/\(id)", "#/jobs", "#/compare?jobs=\(id)", "#/campaigns", "#/evaluations", "#/optimizers", "#/workers",
    ] {
      try go(
        browser, page,
        until: "document.querySelector('main h1') && document.querySelector('tbody tr, .empty:not([hidden])')")
      #expect(try browser.run("return \(wide)") == false, "\(page)")
    }
    try expectQuiet(browser)
  }
}
