# A small stand-in for the parts of nixpkgs' lib that a NixOS service module uses,
# written for this project: nixpkgs is in none of the package registries. Enough
# to evaluate one module with Debian's nix-bin and to look at the systemd units
# that come out. It is no replacement for an evaluation with the real lib.
let
  inherit (builtins) attrNames concatStringsSep elem filter foldl' hasAttr head isAttrs isBool isFloat
    isFunction isInt isList isPath isString length listToAttrs map mapAttrs replaceStrings toString;

  isOption = v: isAttrs v && v._type or "" == "option";
  isProps = v: isAttrs v && elem (v._type or "") [ "if" "merge" "override" "order" ];

  recursiveUpdate = a: b:
    if isAttrs a && isAttrs b && !(isProps a) && !(isProps b) && !(a ? outPath) && !(b ? outPath)
    then a // mapAttrs (n: v: if hasAttr n a then recursiveUpdate a.${n} v else v) b
    else if isList a && isList b then a ++ b
    else b;

  # mkIf, mkMerge, mkDefault... down to plain values
  drop = { __dropped = true; };
  resolve = v:
    if isProps v then
      if v._type == "if" then (if v.condition then resolve v.content else drop)
      else if v._type == "merge" then foldl' (a: b: let r = resolve b; in if r == drop then a else recursiveUpdate a r) { } v.contents
      else resolve v.content
    else if isAttrs v && !(v ? outPath) && !(isFunction (v.__functor or null)) then
      let r = mapAttrs (_: resolve) v; in
      listToAttrs (map (n: { name = n; value = r.${n}; })
        (filter (n: !(isAttrs r.${n} && r.${n} ? __dropped)) (attrNames r)))
    else if isList v then map resolve v
    else v;

  mk = name: check: { inherit name check; };
  types = rec {
    bool = mk "bool" isBool;
    int = mk "int" isInt;
    float = mk "float" isFloat;
    number = mk "number" (v: isInt v || isFloat v);
    str = mk "str" isString;
    nonEmptyStr = mk "nonEmptyStr" (v: isString v && v != "");
    singleLineStr = str;
    lines = str;
    commas = str;
    path = mk "path" (v: isPath v || (isString v && builtins.substring 0 1 v == "/") || (isAttrs v && v ? outPath));
    package = mk "package" (v: isAttrs v && v ? outPath);
    port = mk "port" (v: isInt v && v >= 0 && v <= 65535);
    attrs = mk "attrs" isAttrs;
    anything = mk "anything" (_: true);
    raw = anything;
    unspecified = anything;
    enum = vs: mk "enum" (v: elem v vs);
    strMatching = re: mk "strMatching" (v: isString v && builtins.match re v != null);
    nullOr = t: mk "nullOr ${t.name}" (v: v == null || t.check v);
    listOf = t: mk "listOf ${t.name}" (v: isList v && builtins.all t.check v);
    nonEmptyListOf = t: mk "nonEmptyListOf" (v: isList v && v != [ ] && builtins.all t.check v);
    attrsOf = t: mk "attrsOf ${t.name}" (v: isAttrs v && builtins.all (n: t.check v.${n}) (attrNames v)) // { nested = t; };
    lazyAttrsOf = attrsOf;
    either = a: b: mk "either" (v: a.check v || b.check v);
    oneOf = ts: mk "oneOf" (v: builtins.any (t: t.check v) ts);
    ints = {
      positive = mk "positive" (v: isInt v && v > 0);
      unsigned = mk "unsigned" (v: isInt v && v >= 0);
      between = lo: hi: mk "between" (v: isInt v && v >= lo && v <= hi);
      u16 = port;
    };
    submodule = m: mk "submodule" isAttrs // { module = m; };
  };

  # defaults of an option tree, with what the user set laid over them and checked
  fill = args: where: opts: given:
    mapAttrs (n: o:
      let at = "${where}${n}"; in
      if isOption o then
        (if hasAttr n given then fillType args at o.type given.${n}
         else if o ? default then fillType args at o.type (resolve o.default)
         else throw "the option ${at} is used but has no value")
      else fill args "${at}." o (given.${n} or { })) opts
    // (let extra = filter (n: !(hasAttr n opts)) (attrNames given); in
      if extra == [ ] then { } else throw "no such option: ${where}${head extra}");

  # The same where more than the options may be written, at any depth.
  fillFree = args: where: opts: given:
    given // mapAttrs (n: o:
      if isOption o then (fill args where { ${n} = o; } (builtins.intersectAttrs { ${n} = null; } given)).${n}
      else fillFree args "${where}${n}." o (given.${n} or { })) opts;

  fillType = args: at: t: v:
    if !(t.check v) then throw "the option ${at} is not of type ${t.name}"
    else if t ? module then
      let m = if isFunction t.module then t.module (args // { config = v; name = at; }) else t.module; in
      if m ? freeformType then fillFree args "${at}." (m.options or { }) v else fill args "${at}." (m.options or { }) v
    else if t ? nested then mapAttrs (n: fillType args "${at}.${n}" t.nested) v
    else v;

  lib = rec {
    inherit types recursiveUpdate isOption;
    inherit (builtins) all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl'
      hasAttr head isAttrs isBool isInt isList isString length listToAttrs map mapAttrs removeAttrs tail toJSON;
    mkOption = a: a // { _type = "option"; type = a.type or types.anything; };
    mkEnableOption = what: mkOption { type = types.bool; default = false; description = "Whether to enable ${what}."; };
    mkPackageOption = pkgs: name: a: mkOption ({ type = types.package; default = pkgs.${if isString name then name else head name}; } // removeAttrs a [ "default" "example" "extraDescription" "nullable" "pkgsText" ]);
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkOverride = _: content: { _type = "override"; inherit content; };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkBefore = content: { _type = "order"; inherit content; };
    mkAfter = mkBefore;
    literalExpression = text: { _type = "literalExpression"; inherit text; };
    literalMD = literalExpression;
    mdDoc = s: s;
    optional = c: v: if c then [ v ] else [ ];
    optionals = c: v: if c then v else [ ];
    optionalString = c: v: if c then v else "";
    optionalAttrs = c: v: if c then v else { };
    filterAttrs = f: s: listToAttrs (map (n: { name = n; value = s.${n}; }) (filter (n: f n s.${n}) (attrNames s)));
    mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s);
    mapAttrs' = f: s: listToAttrs (mapAttrsToList f s);
    nameValuePair = name: value: { inherit name value; };
    concatMapStringsSep = sep: f: l: concatStringsSep sep (map f l);
    concatLines = l: concatStringsSep "" (map (s: s + "\n") l);
    escapeShellArg = s: "'" + replaceStrings [ "'" ] [ "'\\''" ] (toString s) + "'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    boolToString = b: if b then "true" else "false";
    unique = foldl' (acc: e: if elem e acc then acc else acc ++ [ e ]) [ ];
    hasPrefix = p: s: builtins.substring 0 (builtins.stringLength p) s == p;
    hasSuffix = p: s: let n = builtins.stringLength s; k = builtins.stringLength p; in n >= k && builtins.substring (n - k) k s == p;
    toInt = builtins.fromJSON;
    last = l: builtins.elemAt l (length l - 1);
    splitString = sep: s: filter isString (builtins.split (replaceStrings [ "." "+" "*" "|" ] [ "\\." "\\+" "\\*" "\\|" ] sep) s);
    attrByPath = p: d: s: if p == [ ] then s else if isAttrs s && hasAttr (head p) s then attrByPath (builtins.tail p) d s.${head p} else d;
    getExe = p: "${p}/bin/${p.meta.mainProgram or p.pname or p.name}";
    getExe' = p: b: "${p}/bin/${b}";
    getBin = p: p;
    cleanSource = source: source;
    genAttrs = names: f: listToAttrs (map (n: { name = n; value = f n; }) names);
    maintainers = { };
    licenses = { agpl3Only = { spdxId = "AGPL-3.0-only"; }; asl20 = { spdxId = "Apache-2.0"; }; mit = { spdxId = "MIT"; }; };
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    warn = _: v: v;

    # evalStub { module; pkgs; settings; other }: `settings` is what a user writes in
    # configuration.nix for the options this module declares; `other` stands for the
    # rest of the system's config that it reads (networking.hostName, ...).
    evalStub = { module, pkgs, settings ? { }, other ? { } }:
      let
        args = { inherit lib pkgs; options = m.options; utils = { escapeSystemdExecArgs = escapeShellArgs; }; modulesPath = "/"; };
        m = let f = if isFunction module then module else import module; in
          if isFunction f then f (args // { inherit config; }) else f;
        own = fill args "" m.options settings;
        config = recursiveUpdate other own;
      in
      { options = m.options; config = own; out = resolve (m.config or { }); };
  };
in
lib
