# What may be written for a key, by the form that the reference of all keys names
# (docs/reference/configuration.md). options.nix is written in these words.
lib:
let
  inherit (lib) types;
  described = description: type: type // { inherit description; };
  size = "[0-9]+(\\.[0-9]+)? *(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?";
in
{
  text = types.str;
  # Whatever stands in a configuration is readable for everybody in the store: here only null is taken.
  secret = described "secret, which belongs into services.cairn.credentials or environmentFile" (types.enum [ ]);
  texts = types.listOf types.str;
  # A text, not a Nix path: a path would be copied to the store, where everybody reads it.
  path = described "absolute path" (types.strMatching "/.*");
  flag = types.bool;
  count = types.ints.unsigned;
  duration = described ''duration such as "5m" or "1h30m"'' (types.strMatching "0|([0-9]+(ms|s|m|h|d|w|y))+");
  size = described ''size such as "32MiB", or a number of bytes'' (types.either types.ints.unsigned (types.strMatching size));
  share = described ''size such as "1GiB", or a share such as "25%"''
    (types.either types.ints.unsigned (types.strMatching "${size}|[1-9]%|[1-8][0-9]%|90%"));
  choice = types.enum;

  # An option of the settings: null leaves it to the program.
  key = type: default: text: lib.mkOption {
    type = types.nullOr type;
    default = null;
    description = text + (
      if default == "" then "\nUnset unless given." else "\nUnless given, the program uses `${default}`."
    );
  };
}
